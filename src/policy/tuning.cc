#include "policy/tuning.h"

#include <algorithm>
#include <array>
#include <limits>

#include "domain/limits.h"

namespace glowplug::policy {
namespace {

using domain::EngineSettings;
using domain::Manifest;
using domain::Trial;

constexpr double kNoise = 1.05;  // times as long is no difference
constexpr double kMemoryDiffers = 1.1;
constexpr double kWorthAnotherFile = 1.5;
constexpr int kPromptTokens = 512;
constexpr int kAnswerTokens = 128;
constexpr int kEachCoreUpTo = 8;  // beyond it, powers of two and what lies half way
constexpr std::array kBatches{128, kTunedBatchMost};

std::vector<int> thread_counts(int cores) {
  std::vector<int> counts{std::max(1, cores)};  // all of them first: it is what auto means
  for (int count = 1; count < cores && count <= kEachCoreUpTo; ++count) counts.push_back(count);
  for (int count = 2 * kEachCoreUpTo; count < cores; count *= 2) {
    counts.push_back(count / 4 * 3);
    counts.push_back(count);
  }
  return counts;
}

bool tried(std::span<const Trial> done, const Trial& wanted) {
  return std::any_of(done.begin(), done.end(), [&wanted](const Trial& trial) {
    return trial.settings == wanted.settings && trial.file_type == wanted.file_type;
  });
}

domain::KvType kv_of(const Manifest& manifest) { return manifest.tuning.kv; }

domain::KvType other_kv(domain::KvType kv) {
  return kv == domain::KvType::Q8_0 ? domain::KvType::F16 : domain::KvType::Q8_0;
}

// May be chosen: of the function's own file, and with its own type of cache.
bool eligible(const TuneScope& scope, const Trial& trial) {
  return trial.figures && trial.file_type.empty() &&
         trial.settings.tuning.kv == kv_of(scope.manifest);
}

int steps_from_auto(const EngineSettings& settings, int cores) {
  return (settings.threads == cores ? 0 : 1) + (settings.tuning.batch == 0 ? 0 : 1) +
         (settings.tuning.repack == domain::Repack::Auto ? 0 : 1);
}

// Everything that would be tried, in order, given the best so far.
std::vector<Trial> wanted_trials(const TuneScope& scope, std::span<const Trial> done) {
  std::vector<Trial> wanted;
  EngineSettings settings;
  settings.tuning.kv = kv_of(scope.manifest);
  const auto add = [&wanted](const EngineSettings& one, std::string file_type = {}) {
    wanted.push_back({.settings = one, .file_type = std::move(file_type)});
  };
  for (const int threads : thread_counts(scope.cores)) {
    settings.threads = threads;
    add(settings);
  }
  const auto best = best_trial(scope, done);
  if (!best) return wanted;
  const Trial& leader = done[*best];
  settings = leader.settings;
  settings.tuning.repack = domain::Repack::Auto;
  const auto as_auto = std::find_if(done.begin(), done.end(), [](const Trial& trial) {
    return trial.figures && trial.settings.tuning.repack == domain::Repack::Auto;
  });
  const bool auto_repacks = as_auto != done.end() && as_auto->figures->repacked;
  settings.tuning.batch = 0;
  settings.tuning.repack = auto_repacks ? domain::Repack::Off : domain::Repack::On;
  add(settings);
  if (scope.manifest.task == domain::Task::Generate) {
    settings.tuning.repack = leader.settings.tuning.repack;
    for (const int batch : kBatches) {
      settings.tuning.batch = batch;
      const bool fits = batch >= scope.manifest.slots + domain::kPromptTokensMin;
      if (fits && batch != as_auto->figures->batch) add(settings);
    }
    settings = leader.settings;
    settings.tuning.kv = other_kv(kv_of(scope.manifest));
    add(settings);
  }
  for (const FileOffer& offer : scope.offers) {
    settings = leader.settings;
    settings.tuning.repack = domain::Repack::Auto;
    add(settings, offer.file_type);
  }
  return wanted;
}

}  // namespace

std::optional<Trial> next_trial(const TuneScope& scope, std::span<const Trial> done) {
  if (done.size() >= static_cast<std::size_t>(domain::kTuneTrialsMax)) return std::nullopt;
  // The leader may change on the way; what was tried for an earlier one is not tried again.
  const std::size_t all = static_cast<std::size_t>(trials_expected(scope, {}));
  if (done.size() >= all) return std::nullopt;
  for (Trial& trial : wanted_trials(scope, done))
    if (!tried(done, trial)) return std::move(trial);
  return std::nullopt;
}

int trials_expected(const TuneScope& scope, std::span<const Trial> done) {
  const int threads = static_cast<int>(thread_counts(scope.cores).size());
  const bool generates = scope.manifest.task == domain::Task::Generate;
  const int further = 1 + (generates ? static_cast<int>(kBatches.size()) + 1 : 0) +
                      static_cast<int>(scope.offers.size());
  const int most = std::min(threads + further, domain::kTuneTrialsMax);
  if (done.empty()) return most;
  const std::vector<Trial> wanted = wanted_trials(scope, done);
  const auto left = std::count_if(wanted.begin(), wanted.end(),
                                  [&done](const Trial& trial) { return !tried(done, trial); });
  const int now = static_cast<int>(done.size()) + static_cast<int>(left);
  return best_trial(scope, done) ? std::min(now, most) : most;
}

double call_seconds(const Manifest& manifest, const domain::Figures& figures) {
  const bool generates = manifest.task == domain::Task::Generate;
  const int answer =
      generates ? std::min({kAnswerTokens, manifest.limits.max_tokens, manifest.context / 4}) : 0;
  const int prompt = std::min(kPromptTokens, manifest.context - answer);
  const auto seconds = [](int tokens, const domain::Spread& rate) {
    if (tokens <= 0) return 0.0;
    return rate.median > 0 ? tokens / rate.median : std::numeric_limits<double>::infinity();
  };
  return seconds(prompt, figures.prefill) + seconds(answer, figures.decode);
}

std::optional<std::size_t> best_trial(const TuneScope& scope, std::span<const Trial> done) {
  const auto seconds = [&](std::size_t i) {
    return call_seconds(scope.manifest, *done[i].figures);
  };
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < done.size(); ++i)
    if (eligible(scope, done[i])) least = std::min(least, seconds(i));
  std::uint64_t leanest = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t i = 0; i < done.size(); ++i)
    if (eligible(scope, done[i]) && seconds(i) <= least * kNoise)
      leanest = std::min(leanest, done[i].figures->private_bytes);
  std::optional<std::size_t> best;
  const auto nearer = [&](std::size_t a, std::size_t b) {
    const int left = steps_from_auto(done[a].settings, scope.cores);
    const int right = steps_from_auto(done[b].settings, scope.cores);
    return left != right ? left < right : seconds(a) < seconds(b);
  };
  for (std::size_t i = 0; i < done.size(); ++i) {
    if (!eligible(scope, done[i]) || seconds(i) > least * kNoise) continue;
    const double bytes = static_cast<double>(done[i].figures->private_bytes);
    if (bytes > static_cast<double>(leanest) * kMemoryDiffers) continue;
    if (!best || nearer(i, *best)) best = i;
  }
  return best;
}

EngineSettings choice_of(const Trial& best, int cores) {
  EngineSettings choice = best.settings;
  if (choice.threads == cores) choice.threads = 0;
  return choice;
}

std::optional<domain::FasterFile> faster_file(const TuneScope& scope, std::span<const Trial> done) {
  const auto best = best_trial(scope, done);
  if (!best) return std::nullopt;
  const double own = call_seconds(scope.manifest, *done[*best].figures);
  std::optional<domain::FasterFile> found;
  for (const Trial& trial : done) {
    if (trial.file_type.empty() || !trial.figures) continue;
    const double times = own / call_seconds(scope.manifest, *trial.figures);
    if (times < kWorthAnotherFile || (found && times <= found->times)) continue;
    const auto offer =
        std::find_if(scope.offers.begin(), scope.offers.end(),
                     [&trial](const FileOffer& one) { return one.file_type == trial.file_type; });
    if (offer != scope.offers.end()) found = {offer->file_type, offer->source, times};
  }
  return found;
}

Manifest with_choice(Manifest manifest, const EngineSettings& choice) {
  if (manifest.resources.threads == 0) manifest.resources.threads = choice.threads;
  if (manifest.tuning.batch == 0) manifest.tuning.batch = choice.tuning.batch;
  if (manifest.tuning.repack == domain::Repack::Auto) manifest.tuning.repack = choice.tuning.repack;
  return manifest;
}

Manifest applied(Manifest manifest, const EngineSettings& choice) {
  manifest.resources.threads = choice.threads;
  manifest.tuning = choice.tuning;
  return manifest;
}

bool tunes_alike(const Manifest& a, const Manifest& b) {
  return a.model == b.model && a.model_sha256 == b.model_sha256 && a.task == b.task &&
         a.engine == b.engine && a.context == b.context && a.slots == b.slots &&
         a.tuning == b.tuning && a.resources == b.resources;
}

}  // namespace glowplug::policy
