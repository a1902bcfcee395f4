#include "app/rollouts.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "app/checkpoint_text.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "models/manifest_reader.h"
#include "models/model_source.h"
#include "models/sha256.h"
#include "models/tuning_record.h"
#include "policy/tuning.h"

namespace glowplug::app {
namespace {

constexpr int kStepSpacing = 10;  // between steps that nobody chose

Error conflict(std::string message, std::string param = "step") {
  return {std::string(domain::error::kCheckpointConflict), std::move(message), std::move(param)};
}

Error no_checkpoint(const std::string& function, int step) {
  return {std::string(domain::error::kNotFound),
          fmt::format("`{}` has no {}; glowplug checkpoints {} lists all", function,
                      domain::checkpoint_name(step), function),
          "step"};
}

int weight_of(const storage::Split& split, int revision) {
  const auto found = std::find_if(split.begin(), split.end(), [revision](const auto& served) {
    return served.revision == revision;
  });
  return found == split.end() ? 0 : found->weight;
}

}  // namespace

domain::Manifest Rollouts::Deployed::run_manifest() const {
  domain::Manifest run = tuned ? policy::with_choice(manifest, tuned->choice) : manifest;
  if (!sha256.empty()) run.model_sha256 = sha256;
  return run;
}

Rollouts::Rollouts(Parts parts)
    : parts_(std::move(parts)),
      store_(parts_.writer),
      checkpoints_(parts_.writer, models::sha256_hex) {}

Result<void> Rollouts::restore() {
  auto stored = store_.load();
  if (!stored) return stored.error();
  for (const storage::StoredFunction& row : *stored) {
    auto split = store_.serving(row.name);
    if (!split) return split.error();
    auto listed = read(row.name);
    if (!listed) return listed.error();
    for (const control::CheckpointView& one : *listed)
      if (!one.damage.empty())
        spdlog::error("function={} checkpoint={} is damaged and will not serve: {}", row.name,
                      domain::checkpoint_name(one.step), one.damage);
    if (auto told = tell(row.name, *split); !told)
      spdlog::error("function={} cannot be restored: {}", row.name, told.error().message);
  }
  return {};
}

Result<control::PutOutcome> Rollouts::put(const domain::Manifest& manifest,
                                          std::optional<int> if_revision) {
  const auto current = deployed_.find(manifest.name);
  const bool exists = current != deployed_.end();
  if (if_revision && *if_revision != (exists ? current->second.revision : 0)) {
    return Error{std::string(domain::error::kRevisionConflict),
                 fmt::format("If-Match names revision {}, the current one is {}", *if_revision,
                             exists ? current->second.revision : 0),
                 ""};
  }
  if (exists && current->second.alone && current->second.manifest == manifest) {
    // Nothing is new but that somebody believes it works: what is remembered against it is dropped.
    const auto view = parts_.view(manifest.name);
    if (view && (view->state == domain::State::Failed || view->quarantined))
      parts_.post(control::FunctionPut{current->second.run_manifest(), current->second.revision});
    return control::PutOutcome{current->second.revision, false, false};
  }
  if (!exists && deployed_.size() >= domain::kFunctionsMax) {
    return Error{
        std::string(domain::error::kInvalidValue),
        fmt::format("{} functions are deployed, the most this server holds", deployed_.size()),
        "name"};
  }
  if (!manifest.model.empty()) {
    if (auto source = models::parse_source(manifest.model); !source) return source.error();
  }
  auto revision = store_.next_revision(manifest.name);
  if (!revision) return revision.error();
  if (auto stored = store_.put(manifest.name, *revision, models::write_manifest(manifest)); !stored)
    return stored.error();
  if (manifest.share == domain::Share::Function)
    spdlog::warn(
        "function={} share: function: its callers share prompt state, and cached_tokens tells one "
        "what another has asked",
        manifest.name);
  Deployed deployed{.manifest = manifest, .revision = *revision};
  if (exists && policy::tunes_alike(manifest, current->second.manifest))
    deployed.tuned = current->second.tuned;
  if (deployed.tuned) {
    const std::string record = models::write_tuning_record(*deployed.tuned);
    if (auto kept = store_.set_tuned(manifest.name, *revision, record); !kept) return kept.error();
  }
  deployed_[manifest.name] = deployed;
  note_models(manifest.name, {{.deployed = deployed, .step = {}, .weight = 100}});
  parts_.post(control::FunctionPut{deployed.run_manifest(), *revision});
  return control::PutOutcome{*revision, !exists, true};
}

Result<void> Rollouts::remove_function(const std::string& function) {
  if (auto exists = must_exist(function); !exists) return exists;
  if (auto removed = store_.remove(function); !removed) return removed;
  deployed_.erase(function);
  parts_.users.remove(function);
  parts_.post(control::FunctionDeleted{function});
  return {};
}

Result<void> Rollouts::must_exist(const std::string& function) const {
  if (deployed_.contains(function)) return {};
  return Error{std::string(domain::error::kModelNotFound),
               fmt::format("there is no function `{}`", function), ""};
}

const Rollouts::Deployed* Rollouts::deployed(const std::string& function) const {
  const auto found = deployed_.find(function);
  return found == deployed_.end() ? nullptr : &found->second;
}

Result<void> Rollouts::keep_tuned(const std::string& function, const domain::TuneResult& result) {
  Deployed& deployed = deployed_.at(function);
  deployed.tuned = result;
  return store_.set_tuned(function, deployed.revision, models::write_tuning_record(result));
}

std::optional<domain::TuneResult> Rollouts::tuned_of(const storage::StoredFunction& row) const {
  if (row.tuned_json.empty()) return std::nullopt;
  auto tuned = models::read_tuning_record(row.tuned_json);
  if (!tuned) {
    spdlog::warn("function={} revision={}: {}", row.name, row.revision, tuned.error().message);
    return std::nullopt;
  }
  if (tuned->cores == parts_.cores) return *std::move(tuned);
  spdlog::info("function={} was tuned on {} cores, here are {}: its settings are auto again",
               row.name, tuned->cores, parts_.cores);
  return std::nullopt;
}

// --- checkpoints ---

Result<std::vector<control::CheckpointView>> Rollouts::read(const std::string& function) {
  auto stored = checkpoints_.list(function);
  if (!stored) return stored.error();
  std::vector<control::CheckpointView> list;
  for (storage::StoredCheckpoint& row : *stored) {
    control::CheckpointView one{.step = row.step,
                                .revision = row.revision,
                                .created = WallTime(std::chrono::milliseconds(row.created_ms)),
                                .damage = std::move(row.damage)};
    if (one.damage.empty()) {
      if (auto content = read_checkpoint(row.content, function)) {
        one.manifest = std::move(content->manifest);
        one.prompts = std::move(content->prompts);
      } else {
        one.damage = content.error().message;
      }
    }
    list.push_back(std::move(one));
  }
  return list;
}

Result<control::CheckpointView> Rollouts::whole(const std::string& function, int step) {
  if (auto exists = must_exist(function); !exists) return exists.error();
  auto listed = read(function);
  if (!listed) return listed.error();
  for (control::CheckpointView& one : *listed) {
    if (one.step != step) continue;
    if (one.damage.empty()) return std::move(one);
    return conflict(fmt::format("{} of `{}` is damaged and cannot serve: {}",
                                domain::checkpoint_name(step), function, one.damage));
  }
  return no_checkpoint(function, step);
}

Result<std::vector<control::CheckpointView>> Rollouts::list(const std::string& function) {
  if (auto exists = must_exist(function); !exists) return exists.error();
  auto listed = read(function);
  if (!listed) return listed.error();
  const auto split = store_.serving(function);
  if (!split) return split.error();
  for (control::CheckpointView& one : *listed)
    if (one.damage.empty()) one.weight = weight_of(*split, one.revision);
  return listed;
}

Result<control::CheckpointView> Rollouts::save(const std::string& function,
                                               std::optional<int> step) {
  if (auto exists = must_exist(function); !exists) return exists.error();
  const auto view = parts_.view(function);
  if (!view) return conflict(fmt::format("nothing of `{}` can be served", function), "");
  const auto parts = parts_of(function, {{view->revision, 100}});  // as its owner declares it
  if (!parts) return parts.error();
  domain::Manifest pinned = parts->front().deployed.manifest;
  if (!pinned.model.empty()) pinned.model_sha256 = view->facts.sha256;
  if (!pinned.model.empty() && pinned.model_sha256.empty())
    return conflict(
        fmt::format("the model of `{}` is not on this machine yet, so that its digest is unknown; "
                    "save again once it is (glowplug ps shows its tier)",
                    function),
        "");
  auto there = checkpoints_.list(function);
  if (!there) return there.error();
  if (there->size() >= domain::kCheckpointsMax)
    return conflict(
        fmt::format("`{}` has {} checkpoints, the most a function holds", function, there->size()));
  if (!step) {
    const int last = there->empty() ? 0 : std::max(0, there->back().step);
    if (last > domain::kCheckpointStepMax - kStepSpacing)
      return conflict(fmt::format("there is no step after {}; name one", last));
    step = (last / kStepSpacing + 1) * kStepSpacing;
  }
  const WallTime now = parts_.clock.wall_now();
  if (auto added = checkpoints_.add(function, {.step = *step,
                                               .revision = view->revision,
                                               .created_ms = now.time_since_epoch().count(),
                                               .content = write_checkpoint(pinned)});
      !added)
    return added.error();
  const auto split = store_.serving(function);
  if (!split) return split.error();
  // The revision is pinned from now on, also where it serves already.
  if (weight_of(*split, view->revision) > 0) {
    if (auto told = tell(function, *split); !told) return told.error();
  }
  auto saved = whole(function, *step);
  if (saved) saved->weight = weight_of(*split, saved->revision);
  return saved;
}

Result<void> Rollouts::remove(const std::string& function, int step) {
  auto listed = list(function);
  if (!listed) return listed.error();
  const auto found = std::find_if(listed->begin(), listed->end(),
                                  [step](const auto& one) { return one.step == step; });
  if (found == listed->end()) return no_checkpoint(function, step);
  if (found->weight > 0)
    return conflict(fmt::format("{} serves {} % of the calls of `{}`; activate another one first",
                                domain::checkpoint_name(step), found->weight, function));
  if (auto removed = checkpoints_.remove(function, step); !removed) return removed;
  const auto split = store_.serving(function);
  if (!split) return split.error();
  if (const auto parts = parts_of(function, *split)) note_models(function, *parts);
  return {};
}

// --- what serves ---

Result<std::vector<control::ServedView>> Rollouts::activate(const std::string& function, int step) {
  const auto checkpoint = whole(function, step);
  if (!checkpoint) return checkpoint.error();
  return serve(function, {{checkpoint->revision, 100}});
}

Result<std::vector<control::ServedView>> Rollouts::set_traffic(
    const std::string& function, std::span<const domain::StepWeight> weights) {
  storage::Split split;
  for (const domain::StepWeight& wanted : weights) {
    const auto checkpoint = whole(function, wanted.step);
    if (!checkpoint) return checkpoint.error();
    if (wanted.weight == 0) continue;
    const auto same = std::find_if(split.begin(), split.end(), [&checkpoint](const auto& served) {
      return served.revision == checkpoint->revision;
    });
    if (same != split.end())
      same->weight += wanted.weight;  // two names of one state
    else
      split.push_back({checkpoint->revision, wanted.weight});
  }
  return serve(function, split);
}

Result<std::vector<control::ServedView>> Rollouts::roll_back(const std::string& function) {
  if (auto exists = must_exist(function); !exists) return exists.error();
  const auto now = store_.serving(function);
  if (!now) return now.error();
  const auto split = store_.step_back(function);
  if (!split) return split.error();
  if (!*split)
    return conflict(fmt::format("`{}` served nothing before what it serves now", function), "");
  auto told = tell(function, **split);
  if (!told) {
    if (const auto undone = store_.serve(function, *now); !undone)
      spdlog::error("function={} still serves what it did, but the next server will not: {}",
                    function, undone.error().message);
  }
  return told;
}

// The same again changes nothing, so that a rollback still goes to what served before; but a start
// that failed is tried anew.
Result<std::vector<control::ServedView>> Rollouts::serve(const std::string& function,
                                                         const storage::Split& split) {
  const auto now = store_.serving(function);
  if (!now) return now.error();
  const bool same =
      now->size() == split.size() && std::is_permutation(now->begin(), now->end(), split.begin());
  if (!same) {
    if (auto stored = store_.serve(function, split); !stored) return stored.error();
  }
  const auto sorted = store_.serving(function);
  if (!sorted) return sorted.error();
  return tell(function, *sorted);
}

// Tells the brain, and gives it in the words of the API. What had to be left out stays out.
Result<std::vector<control::ServedView>> Rollouts::tell(const std::string& function,
                                                        const storage::Split& split) {
  auto parts = parts_of(function, split);
  if (!parts) return parts.error();
  control::TrafficSet traffic{.function = function, .served = {}};
  storage::Split left;
  std::vector<control::ServedView> served;
  for (const Part& part : *parts) {
    traffic.served.push_back({part.deployed.run_manifest(), part.deployed.revision, part.weight});
    left.push_back({part.deployed.revision, part.weight});
    served.push_back({part.deployed.revision, part.step, part.weight});
  }
  if (left.size() < split.size()) {
    if (auto stored = store_.serve(function, left); !stored) return stored.error();
  }
  note_models(function, *parts);
  deployed_[function] = parts->front().deployed;
  parts_.post(std::move(traffic));
  return served;
}

// A revision whose only checkpoint is damaged is left out where another one serves beside it, which
// then gets its weight.
Result<std::vector<Rollouts::Part>> Rollouts::parts_of(const std::string& function,
                                                       const storage::Split& split) {
  const auto listed = read(function);
  if (!listed) return listed.error();
  std::vector<Part> parts;
  int left_out = 0;
  for (const storage::ServedRevision& served : split) {
    auto row = store_.find(function, served.revision);
    if (!row) return row.error();
    auto manifest = models::read_manifest(*row ? (*row)->manifest_json : "", function);
    Part part{.deployed = {.revision = served.revision, .alone = split.size() == 1},
              .step = {},
              .weight = served.weight};
    bool damaged = false;
    for (const control::CheckpointView& one : *listed) {
      if (one.revision != served.revision) continue;
      damaged |= !one.damage.empty();
      if (!one.damage.empty()) continue;
      part.step = one.step;
      part.deployed.sha256 = one.manifest.model_sha256;
    }
    damaged = damaged && !part.step;
    const bool last = parts.empty() && &served == &split.back();
    if (!manifest || (damaged && !last)) {
      spdlog::error("function={} revision={} is left out of the traffic: {}", function,
                    served.revision,
                    manifest ? "its checkpoint is damaged" : manifest.error().message);
      left_out += served.weight;
      continue;
    }
    if (damaged)
      spdlog::error("function={} revision={} serves as it was deployed: its checkpoint is damaged",
                    function, served.revision);
    part.deployed.manifest = std::move(*manifest);
    part.deployed.tuned = tuned_of(**row);
    parts.push_back(std::move(part));
  }
  if (parts.empty())
    return Error{std::string(domain::error::kStorageFailed),
                 fmt::format("no stored revision of `{}` can be read", function), ""};
  parts.front().weight += left_out;
  parts.front().deployed.alone = parts.size() == 1;
  return parts;
}

// What serves and what a checkpoint names stays on this machine.
void Rollouts::note_models(const std::string& function, const std::vector<Part>& serving) {
  std::vector<models::ModelWish> held;
  for (const Part& part : serving) {
    const domain::Manifest run = part.deployed.run_manifest();
    held.push_back({run.model, run.model_sha256});
  }
  parts_.users.deploy(function, held.front());
  if (const auto listed = read(function))
    for (const control::CheckpointView& one : *listed)
      if (one.damage.empty()) held.push_back({one.manifest.model, one.manifest.model_sha256});
  parts_.users.hold(function, std::move(held));
}

}  // namespace glowplug::app
