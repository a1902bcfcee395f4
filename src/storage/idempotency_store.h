// What was answered to which Idempotency-Key, so that the same request is not carried out twice.
//
// A row names the job that the request became, or holds the answer that it got at once. Keys are
// kept for a day of the queue's clock. Thread: that of the database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/job.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

inline constexpr Duration kIdempotencyKept = std::chrono::hours(24);

struct IdempotencyKey {
  std::string scope;  // tenant and route: nobody else's key is found
  std::string key;
  std::string body_hash;
};

// What a key stands for: a job, or an answer.
struct KeptAnswer {
  domain::JobId job{};  // 0 = the answer below
  int status = 0;
  std::string body, content_type;
};

// None where the key is new, too old, or its job is gone: a key goes with its job. Error
// idempotency_key_reused where it was sent with another body.
Result<std::optional<KeptAnswer>> find_key(Database& database, const IdempotencyKey& key, Time now);
Result<void> keep_key(Database& database, const IdempotencyKey& key, const KeptAnswer& answer,
                      Time now);
Result<int> sweep_keys(Database& database, Time now, int limit);

}  // namespace glowplug::storage
