#include "gateway/upload_form.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/request_fields.h"

namespace glowplug::gateway {
namespace {

namespace error = domain::error;

constexpr std::string_view kAnchor = "expires_after[anchor]";
constexpr std::string_view kSeconds = "expires_after[seconds]";
constexpr std::size_t kFieldBytesMax = 256;
constexpr std::array<std::string_view, 6> kPurposes{"batch",  "assistants", "fine-tune",
                                                    "vision", "user_data",  "evals"};

std::int64_t whole_seconds(Duration time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

}  // namespace

bool is_file_purpose(std::string_view purpose) {
  return std::find(kPurposes.begin(), kPurposes.end(), purpose) != kPurposes.end();
}

std::string file_purposes() { return fmt::format("{}", fmt::join(kPurposes, ", ")); }

const std::string* UploadForm::value(const std::string& name) const {
  const auto found = fields_.find(name);
  return found == fields_.end() ? nullptr : &found->second;
}

Result<void> UploadForm::begin_part(const PartHead& head) {
  part_ = head.name;
  if (part_ == "file") {
    if (has_file_) return invalid("file", "is there twice; a form brings one file.");
    if (!head.filename)
      return invalid("file", "must be a file: its part has a filename in its headers.");
    has_file_ = true;
    file_name_ = head.filename->substr(0, domain::kFileNameBytesMax);
    return {};
  }
  if (part_ != "purpose" && part_ != kAnchor && part_ != kSeconds)
    return invalid(part_.substr(0, 80),
                   "is not known here; there are `file`, `purpose` and "
                   "`expires_after[anchor]` with `expires_after[seconds]`.");
  if (!fields_.emplace(part_, "").second) return invalid(part_, "is there twice.");
  return {};
}

Result<void> UploadForm::check_size() const {
  const std::string* purpose = value("purpose");
  const std::uint64_t most = purpose != nullptr && *purpose == "batch" && part_ == "file"
                                 ? domain::kBatchFileBytesMax
                                 : domain::kFileBytesMax;
  if (file_bytes_ <= most) return {};
  return Error{std::string(error::kRequestTooLarge),
               fmt::format("The file is over {} bytes{}.", most,
                           most == domain::kBatchFileBytesMax ? ", which a batch's may have" : ""),
               "file"};
}

Result<void> UploadForm::take(const std::vector<PartEvent>& events, std::string& content) {
  for (const PartEvent& event : events) {
    if (event.kind == PartEvent::Kind::Begins) {
      if (Result<void> begun = begin_part(event.head); !begun) return begun;
    } else if (event.kind == PartEvent::Kind::Content && part_ == "file") {
      file_bytes_ += event.content.size();
      if (Result<void> sized = check_size(); !sized) return sized;
      content += event.content;
    } else if (event.kind == PartEvent::Kind::Content) {
      std::string& text = fields_[part_];
      text += event.content;
      if (text.size() > kFieldBytesMax)
        return invalid(part_, fmt::format("is over {} bytes.", kFieldBytesMax));
    }
  }
  return {};
}

Result<std::optional<Duration>> UploadForm::expiry() const {
  const std::string* anchor = value(std::string(kAnchor));
  const std::string* seconds = value(std::string(kSeconds));
  if (anchor == nullptr && seconds == nullptr) return std::optional<Duration>();
  if (anchor == nullptr || *anchor != "created_at") return invalid(kAnchor, "must be created_at.");
  const std::int64_t low = whole_seconds(domain::kFileExpiryMin);
  const std::int64_t high = whole_seconds(domain::kFileExpiryMax);
  std::int64_t count = 0;
  const char* end = seconds ? seconds->data() + seconds->size() : nullptr;
  const bool whole = seconds != nullptr && !seconds->empty() &&
                     std::from_chars(seconds->data(), end, count).ptr == end;
  if (!whole || count < low || count > high)
    return invalid(kSeconds, fmt::format("must be a whole number from {} to {}.", low, high));
  return std::optional<Duration>(std::chrono::seconds(count));
}

Result<queue::FileWish> UploadForm::finish(bool complete) const {
  if (!complete)
    return Error{std::string(error::kBadRequest),
                 "The multipart body ends before its last boundary.", ""};
  const std::string* purpose = value("purpose");
  if (purpose == nullptr) return missing("purpose", "is required: " + file_purposes() + ".");
  if (!is_file_purpose(*purpose))
    return invalid("purpose", "must be one of " + file_purposes() + ".");
  if (!has_file_) return missing("file", "is required.");
  if (file_bytes_ == 0) return invalid("file", "is empty.");
  if (*purpose == "batch" && file_bytes_ > domain::kBatchFileBytesMax)
    return Error{std::string(error::kRequestTooLarge),
                 fmt::format("The file is over {} bytes, which a batch's may have.",
                             domain::kBatchFileBytesMax),
                 "file"};
  const Result<std::optional<Duration>> expires = expiry();
  if (!expires) return expires.error();
  queue::FileWish wish{.name = file_name_, .purpose = *purpose, .expires_after = *expires};
  if (!wish.expires_after && *purpose == "batch") wish.expires_after = domain::kFileExpiryMax;
  return wish;
}

}  // namespace glowplug::gateway
