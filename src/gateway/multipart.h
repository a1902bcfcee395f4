// A body of multipart/form-data (RFC 7578), read as it comes: bytes in, in pieces of any size, and
// events out. Nothing of a part's content is kept, so a file may be of any length.
//
//   preamble ──▶ head of a part ──▶ its content ──▶ head of the next … ──▶ epilogue
//
// What it holds is bounded: one head, or as many bytes as the beginning of a boundary has.
// Thread: one owner.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace glowplug::gateway {

inline constexpr std::size_t kPartHeadBytesMax = 8 * 1024;
inline constexpr std::size_t kPreambleBytesMax = 8 * 1024;
inline constexpr std::size_t kPartsMax = 16;

struct PartHead {
  std::string name;
  std::optional<std::string> filename;
};

// One of: a part begins (`head`), more of its content (`content`), it ends.
struct PartEvent {
  enum class Kind { Begins, Content, Ends };
  Kind kind = Kind::Begins;
  PartHead head;
  std::string content;
};

// Of a Content-Type header. Errors: unsupported_media_type, where it is no such type or names no
// boundary that may be.
Result<std::string> multipart_boundary(std::string_view content_type);

class MultipartParser final {
 public:
  explicit MultipartParser(const std::string& boundary);

  // Appends what this piece has brought. Errors: bad_request, with what is wrong; final.
  Result<void> feed(std::string_view piece, std::vector<PartEvent>& events);
  // The last boundary has come: what follows it does not matter.
  bool complete() const { return state_ == State::Epilogue; }

 private:
  enum class State { Preamble, Boundary, Head, Content, Epilogue };
  Result<bool> step(std::vector<PartEvent>& events);  // false: more bytes are needed
  Result<bool> read_preamble();
  Result<bool> read_boundary();
  Result<bool> read_head(std::vector<PartEvent>& events);
  bool read_content(std::vector<PartEvent>& events);

  std::string delimiter_;  // CRLF, two dashes, the boundary
  std::string held_;
  State state_ = State::Preamble;
  std::size_t parts_ = 0;
};

}  // namespace glowplug::gateway
