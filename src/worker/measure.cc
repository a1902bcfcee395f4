#include "worker/measure.h"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

#include <boost/json.hpp>

namespace glowplug::worker {
namespace {

namespace json = boost::json;

constexpr double kFakeReadsTimes = 10;
constexpr int kFakeThreads = 2;
constexpr int kFakeBatch = 64;
constexpr double kFakeRepackTimes = 0.5;  // so that a tune has something to find
constexpr std::uint64_t kMiB = 1024 * 1024;

json::object spread_object(const domain::Spread& spread) {
  return {{"median", spread.median}, {"low", spread.low}, {"high", spread.high}};
}

}  // namespace

domain::Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {.median = median, .low = values.front(), .high = values.back()};
}

std::string measured_line(const domain::Figures& figures) {
  const json::object measured{{"prefill", spread_object(figures.prefill)},
                              {"decode", spread_object(figures.decode)},
                              {"rounds", figures.rounds},
                              {"load_ms", figures.load_ms},
                              {"private_bytes", figures.private_bytes},
                              {"batch", figures.batch},
                              {"repacked", figures.repacked}};
  return json::serialize(json::object{{"measured", measured}}) + "\n";
}

domain::Figures fake_figures(const Options& options) {
  const bool repacked = options.tuning.repack != domain::Repack::Off;
  const double rate = (options.fake.tokens_per_second > 0 ? options.fake.tokens_per_second : 1e6) *
                      std::min(options.threads, kFakeThreads) / kFakeThreads *
                      (options.file_type.empty() ? 1 : kFakeThreads);
  const double reads = rate * kFakeReadsTimes * (repacked ? kFakeRepackTimes : 1);
  domain::Figures figures;
  figures.prefill = spread_of({reads});
  if (options.task == Task::kGenerate) figures.decode = spread_of({rate});
  figures.rounds = 1;
  figures.load_ms = options.fake.load_ms;
  figures.private_bytes = options.tuning.kv == domain::KvType::Q8_0 ? 8 * kMiB : 16 * kMiB;
  figures.batch = options.tuning.batch > 0 ? options.tuning.batch : kFakeBatch;
  figures.repacked = repacked;
  return figures;
}

MemoryProbe::MemoryProbe() : rollup_(::open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC)) {}

std::uint64_t MemoryProbe::private_bytes() const {
  char text[4096];
  const ssize_t got = rollup_.valid() ? ::pread(rollup_.get(), text, sizeof text - 1, 0) : -1;
  if (got <= 0) return 0;
  text[got] = '\0';
  constexpr std::string_view kKey = "\nAnonymous:";
  const std::size_t at = std::string_view(text).find(kKey);
  if (at == std::string_view::npos) return 0;
  return std::strtoull(text + at + kKey.size(), nullptr, 10) * 1024;
}

}  // namespace glowplug::worker
