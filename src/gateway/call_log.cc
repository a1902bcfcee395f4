#include "gateway/call_log.h"

#include <algorithm>
#include <array>
#include <utility>


namespace glowplug::gateway {
namespace {

constexpr std::array<std::string_view, 6> kFateNames{"waiting", "running", "answered",
                                                     "refused", "broken",  "cancelled"};

}  // namespace

std::string_view to_string(CallFate fate) { return kFateNames[static_cast<std::size_t>(fate)]; }

std::string usable_request_id(std::string_view text) {
  const bool printable =
      std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || text.size() > domain::kClientRequestIdBytesMax) return {};
  return std::string(text);
}

void CallLog::begin(CallRecord record) {
  if (records_.size() >= kept_ && !records_.empty()) forget_oldest();
  CallRecord& kept = records_.emplace_back(std::move(record));
  by_request_[kept.request] = &kept;
  if (!kept.client_request.empty()) by_client_.emplace(kept.client_request, &kept);
}

void CallLog::forget_oldest() {
  const CallRecord& oldest = records_.front();
  if (const auto found = by_request_.find(oldest.request);
      found != by_request_.end() && found->second == &oldest)
    by_request_.erase(found);
  // The oldest call of an id is the first of them.
  if (const auto found = by_client_.lower_bound(oldest.client_request);
      found != by_client_.end() && found->second == &oldest)
    by_client_.erase(found);
  records_.pop_front();
}

CallRecord* CallLog::find(std::string_view request) {
  const auto found = by_request_.find(request);
  return found == by_request_.end() ? nullptr : found->second;
}

const CallRecord* CallLog::look_up(std::string_view id, std::string_view function) const {
  const auto fits = [function](const CallRecord& call) {
    return function.empty() || call.function == function;
  };
  if (const auto found = by_request_.find(id); found != by_request_.end() && fits(*found->second))
    return found->second;
  const auto [first, last] = by_client_.equal_range(id);
  for (auto one = last; one != first;)
    if (fits(*(--one)->second)) return one->second;
  return nullptr;
}

}  // namespace glowplug::gateway
