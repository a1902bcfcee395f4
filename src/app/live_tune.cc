// The platform's tune: who may be measured now, and what becomes of the result.
#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "app/live_platform.h"
#include "base/units.h"
#include "domain/errors.h"
#include "models/catalogue.h"

namespace glowplug::app {
namespace {

namespace error = domain::error;

Error refused(std::string message) {
  return {std::string(error::kTuneRefused), std::move(message), ""};
}

// The catalogue's files of the same model in other types.
std::vector<policy::FileOffer> offers_for(const domain::Manifest& manifest,
                                          const domain::ModelFacts& facts) {
  std::vector<policy::FileOffer> offers;
  for (const models::CatalogueEntry& entry : models::catalogue()) {
    const bool same_file = !entry.sha256.empty() && entry.sha256 == facts.sha256;
    if (entry.name != manifest.model && !same_file) continue;
    for (const models::CatalogueVariant& variant : entry.variants)
      offers.push_back({variant.file_type, variant.source});
  }
  return offers;
}

}  // namespace

std::pair<int, std::uint64_t> LivePlatform::calls_now() const {
  std::pair<int, std::uint64_t> now{0, 0};
  brain_.each_function([&now](const control::FunctionView& view) {
    now.first += view.in_flight + view.waiting;
    now.second += view.calls;
  });
  return now;
}

Result<TuneJob> LivePlatform::tune_job(const control::TuneWish& wish) const {
  if (auto exists = rollouts_.must_exist(wish.function); !exists) return exists.error();
  const Rollouts::Deployed& deployed = *rollouts_.deployed(wish.function);
  if (deployed.manifest.engine.kind == domain::EngineKind::Process)
    return Error{std::string(error::kUnsupportedValue),
                 fmt::format("`{}` runs a process of your own (engine.process); tune measures the "
                             "built-in engine",
                             wish.function),
                 "name"};
  if (draining_) return Error{std::string(error::kShuttingDown), "the server is shutting down", ""};
  if (tuner_.running()) return refused("another tune is running; wait for its end");
  const int calls = calls_now().first;
  if (calls > 0 && wish.beside_calls == control::BesideCalls::Refuse)
    return refused(
        fmt::format("{} call{} in flight, which would be measured too, and slowed down; "
                    "try again when the server is idle, or force it",
                    calls, calls == 1 ? " is" : "s are"));
  const auto view = brain_.function(wish.function);
  const bool has_model = !deployed.manifest.model.empty();
  if (!view || view->revision != deployed.revision || (has_model && view->facts.path.empty()))
    return refused(
        fmt::format("the model of `{}` is not on this machine yet, or its last revision "
                    "does not serve yet; see: glowplug ps",
                    wish.function));
  return TuneJob{.manifest = deployed.manifest,
                 .revision = deployed.revision,
                 .facts = view->facts,
                 .offers = offers_for(deployed.manifest, view->facts)};
}

Result<domain::TuneId> LivePlatform::tune(const control::TuneWish& wish,
                                          std::function<void(const control::TuneNews&)> heard) {
  Result<TuneJob> job = tune_job(wish);
  if (!job) return job.error();
  const std::uint64_t free = memory_bytes_ - std::min(memory_bytes_, brain_.reserved_bytes());
  if (const std::uint64_t bytes = estimate_tune_bytes(*job); bytes > free)
    return Error{std::string(error::kDoesNotFit),
                 fmt::format("measuring `{}` takes up to {}, and {} are free; stop functions with "
                             "glowplug stop, or give the server more with --memory",
                             wish.function, format_bytes(bytes), format_bytes(free)),
                 ""};
  const auto [in_flight, calls] = calls_now();
  return tuner_.begin(*job,
                      {.trial = [heard](const control::TrialNews& news) { heard(news); },
                       .done =
                           [this, heard, wish, revision = job->revision, in_flight = in_flight,
                            calls = calls](Result<domain::TuneResult> outcome) {
                             if (!outcome) return heard(outcome.error());
                             outcome->calls_meanwhile =
                                 in_flight + static_cast<int>(calls_now().second - calls);
                             heard(keep_tuned(wish, revision, *std::move(outcome)));
                           }});
}

void LivePlatform::abandon_tune(domain::TuneId tune) { tuner_.cancel(tune); }

// Written down before anybody hears of it.
control::TuneNews LivePlatform::keep_tuned(const control::TuneWish& wish, int revision,
                                           domain::TuneResult result) {
  control::TuneEnd end{.result = std::move(result), .revision = revision, .applied = {}};
  const Rollouts::Deployed* deployed = rollouts_.deployed(wish.function);
  if (deployed == nullptr || deployed->revision != revision)
    return refused(fmt::format("`{}` changed while it was measured; tune it again", wish.function));
  if (auto stored = rollouts_.keep_tuned(wish.function, end.result); !stored) return stored.error();
  if (wish.apply == control::Apply::No) {
    post(control::FunctionTuned{deployed->run_manifest(), revision});
    return end;
  }
  const auto put_outcome = put(policy::applied(deployed->manifest, end.result.choice), revision);
  if (!put_outcome) return put_outcome.error();
  end.applied = put_outcome->revision;
  return end;
}

// As its owner declares it, where the brain runs it as it was tuned.
control::FunctionView LivePlatform::shown(control::FunctionView view) const {
  const Rollouts::Deployed* deployed = rollouts_.deployed(view.manifest.name);
  if (deployed == nullptr || deployed->revision != view.revision) return view;
  const bool runs_otherwise = deployed->tuned || !deployed->sha256.empty();
  if (runs_otherwise) view.manifest = deployed->manifest;  // as its owner wrote it
  view.tuned = deployed->tuned;
  return view;
}

void LivePlatform::each_function(const std::function<void(control::FunctionView)>& visit) const {
  brain_.each_function(
      [this, &visit](control::FunctionView view) { visit(shown(std::move(view))); });
}

std::optional<control::FunctionView> LivePlatform::function(const std::string& name) const {
  auto view = brain_.function(name);
  if (view) view = shown(*std::move(view));
  return view;
}

}  // namespace glowplug::app
