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
  if (!kept.client_request.empty()) by_client_[kept.client_request] = &kept;
}

// An id that a later call brought as well stays that call's.
void CallLog::forget_oldest() {
  const CallRecord& oldest = records_.front();
  const auto forget = [&oldest](Index& index, const std::string& id) {
    if (const auto found = index.find(id); found != index.end() && found->second == &oldest)
      index.erase(found);
  };
  forget(by_request_, oldest.request);
  forget(by_client_, oldest.client_request);
  records_.pop_front();
}

CallRecord* CallLog::find(std::string_view request) {
  const auto found = by_request_.find(request);
  return found == by_request_.end() ? nullptr : found->second;
}

const CallRecord* CallLog::look_up(std::string_view id) const {
  for (const Index* index : {&by_request_, &by_client_})
    if (const auto found = index->find(id); found != index->end()) return found->second;
  return nullptr;
}

}  // namespace glowplug::gateway
