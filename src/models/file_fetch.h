// Brings one address into one file: resumed where the last try ended, retried a bounded number of
// times.
//
// Beside the file lies "<file>.validator" with the address and the ETag of what the bytes belong
// to. A later fetch asks for the rest with Range and If-Range; a server whose file has changed
// answers whole, and the file restarts.
//
// Thread: blocks the caller; one fetch per file at a time is the caller's duty.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "base/time_types.h"
#include "models/http_transfer.h"

namespace glowplug::models {

struct FetchControl {
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
  std::function<bool()> cancelled;
  Duration retry_wait{};  // before the second try; doubled before each further one
  AddressRule addresses;
  std::function<Result<void>(std::uint64_t bytes)> make_room;  // before so many more are written
};

struct FetchWish {
  std::string url;
  std::string bearer_token;
  std::string into;         // the file
  std::uint64_t bytes = 0;  // what it must have; 0 = unknown
};

inline constexpr int kFetchTries = 4;
inline constexpr const char* kCancelledMessage = "the fetch was cancelled";

// Errors: source_unreachable with the reason, forbidden (the address rule), disk_full,
// storage_failed, and what make_room gives.
Result<void> fetch_file(const FetchWish& wish, const FetchControl& control);

// Removes what was fetched into this file, in part or whole, and what is known of its source.
void discard_fetched(const std::string& into);

// A small text answer (a package index) of at most `bytes_max`.
Result<std::string> fetch_text(const std::string& url, const std::string& accept,
                               std::size_t bytes_max, const FetchControl& control);

// Writes all of it; the error is disk_full or storage_failed.
Result<void> write_all(int fd, const char* data, std::size_t bytes, const std::string& path);

// False once `cancelled` says so before the wait is over; looks every 50 ms.
bool wait_unless_cancelled(Duration wait, const std::function<bool()>& cancelled);

}  // namespace glowplug::models
