// Reads every blob again from time to time and moves aside what no longer matches its digest: disks
// flip bits, and a file that nobody has changed is trusted by its mark.
//
// One thread at the lowest priority of CPU and disk, at a bounded rate, past the page cache
// (O_DIRECT), so that the scrub evicts nobody's pages and sees what the disk holds. A mismatch is
// read a second time before anything is moved. It also writes down the use counts, once a minute.
//
// Thread: its own; verify_soon() and done_within() from any. The destructor cuts the read short and
// joins.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "base/time_types.h"
#include "models/model_cache.h"

namespace glowplug::models {

struct ScrubOptions {
  Duration every = std::chrono::hours(24);        // each blob; zero = only when asked
  Duration look_every = std::chrono::minutes(1);  // at what is due; also writes the use counts
  std::uint64_t bytes_per_second = std::uint64_t{64} << 20;  // of what was not asked for
};

class BlobScrubber final {
 public:
  BlobScrubber(ModelCache& cache, ScrubOptions options);
  BlobScrubber(const BlobScrubber&) = delete;
  BlobScrubber& operator=(const BlobScrubber&) = delete;
  ~BlobScrubber();

  void verify_soon(const std::string& sha256);  // ahead of what is due; at full speed
  bool done_within(Duration limit);             // with all that was asked for

 private:
  enum class Pace { Bounded, Full };

  void run();
  bool sleep_until_wanted();  // false once it must end
  std::string next_due() const;
  void check(const std::string& sha256, Pace pace);
  std::string measure(const std::string& path, Pace pace, std::string& fault);
  bool wait_for_pace(Time began, std::uint64_t bytes);

  ModelCache& cache_;
  const ScrubOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> asked_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace glowplug::models
