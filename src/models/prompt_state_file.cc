#include "models/prompt_state_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "domain/limits.h"
#include "models/sha256.h"

namespace glowplug::models {
namespace {

constexpr std::string_view kCannotFill = "cannot write a file in memory";

constexpr std::string_view kMagic = "GLOWSTAT";
constexpr std::size_t kDigestBytes = 64;
constexpr std::size_t kPrefixBytes = 16;      // up to and with the header's length
constexpr std::size_t kHeaderBytesMin = 164;  // with six empty texts
constexpr std::size_t kHeaderBytesMax =
    kHeaderBytesMin + 4 * domain::kPromptFitBytesMax + 2 * domain::kPromptOwnerBytesMax;
// What is sealed or opened in one go: it stays in the core's cache between the steps.
constexpr std::size_t kPieceBytes = 256 * 1024;

// The two messages under a file's key.
enum class Section : std::uint8_t { Tokens = 1, Data = 2 };

AeadNonce nonce_of(Section section) {
  AeadNonce nonce{};
  nonce.back() = static_cast<std::uint8_t>(section);
  return nonce;
}

SecretKey key_of(const StateHeader& header, const SecretKey& tenant_key) {
  std::string context = "glowplug prompt state 1";
  context.append(header.salt.begin(), header.salt.end());
  return derive_key(tenant_key, context);
}

template <typename Number>
void put(std::string& out, Number number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint16_t>(text.size()));
  out += text;
}

// Takes values off the front; once one is missing, all are.
class Taker final {
 public:
  explicit Taker(std::string_view rest) : rest_(rest) {}

  std::string_view take(std::size_t bytes) {
    if (rest_.size() < bytes) ok_ = false;
    if (!ok_) return {};
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }
  template <typename Number>
  void number(Number& out) {
    const std::string_view bytes = take(sizeof(out));
    if (ok_) std::memcpy(&out, bytes.data(), sizeof(out));
  }
  void text(std::string& out) {
    std::uint16_t bytes = 0;
    number(bytes);
    out = take(bytes);
  }
  bool all_taken() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

std::uint64_t token_bytes(const StateHeader& header) {
  return std::uint64_t{header.tokens} * sizeof(std::int32_t);
}
std::uint64_t tokens_at(const StateHeader& header) { return header.raw.size(); }
std::uint64_t data_at(const StateHeader& header) {
  return tokens_at(header) + token_bytes(header) + kTagBytes;
}

Refused unreadable(const Error& error) { return {StateRefusal::Unreadable, error.message}; }

std::span<std::uint8_t> bytes_of(std::string& text) {
  return {reinterpret_cast<std::uint8_t*>(text.data()), text.size()};
}
std::span<std::uint8_t> bytes_of(std::vector<std::int32_t>& tokens) {
  return {reinterpret_cast<std::uint8_t*>(tokens.data()), tokens.size() * sizeof(std::int32_t)};
}

bool parse(StateHeader& header) {
  const std::string_view raw = header.raw;
  const std::string_view body = raw.substr(0, raw.size() - kDigestBytes);
  if (sha256_hex(body) != raw.substr(body.size())) return false;
  Taker taker(body.substr(kPrefixBytes));
  taker.number(header.id);
  taker.number(header.made_at);
  taker.number(header.recompute_us);
  taker.number(header.data_bytes);
  taker.number(header.tokens);
  taker.number(header.engine_version);
  const std::string_view salt = taker.take(header.salt.size());
  std::copy(salt.begin(), salt.end(), header.salt.begin());
  for (std::string* text : {&header.fit.model_sha256, &header.fit.engine, &header.fit.settings,
                            &header.fit.adapters, &header.owner.tenant, &header.owner.domain})
    taker.text(*text);
  return taker.all_taken() && header.tokens > 0 &&
         header.tokens <= static_cast<std::uint32_t>(domain::kContextMax) &&
         header.data_bytes <= domain::kPromptStateBytesMax &&
         header.recompute_us <=
             static_cast<std::uint64_t>(std::chrono::microseconds(kRecomputeMax).count()) &&
         !fault_of(header.owner, header.fit);
}

// Opens the data piece by piece into `out`; the bytes are nobody's before the tag was found right.
OrRefused<bool> open_data(int fd, const StateHeader& header, const SecretKey& file_key, int out) {
  AeadStream stream(AeadUse::Open, file_key, nonce_of(Section::Data));
  stream.add_context(header.raw);
  std::vector<std::uint8_t> buffer(std::min<std::uint64_t>(kPieceBytes, header.data_bytes));
  for (std::uint64_t done = 0; done < header.data_bytes;) {
    const auto piece =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), header.data_bytes - done));
    if (auto read = read_exactly(fd, piece, data_at(header) + done); !read)
      return unreadable(read.error());
    stream.apply(piece);
    if (auto written = write_exactly(out, piece, kCannotFill); !written)
      return unreadable(written.error());
    done += piece.size();
  }
  AeadTag tag;
  if (auto read = read_exactly(fd, tag, data_at(header) + header.data_bytes); !read)
    return unreadable(read.error());
  return stream.authentic(tag);
}

Refused not_authentic(std::string_view section) {
  return {StateRefusal::NotAuthentic,
          fmt::format("the {} of a prompt state were changed after they were sealed", section)};
}

}  // namespace

void finish_header(StateHeader& header) {
  fill_random(header.salt);
  std::string body;
  put(body, header.id);
  put(body, header.made_at);
  put(body, header.recompute_us);
  put(body, header.data_bytes);
  put(body, header.tokens);
  put(body, header.engine_version);
  body.append(header.salt.begin(), header.salt.end());
  for (const std::string* text :
       {&header.fit.model_sha256, &header.fit.engine, &header.fit.settings, &header.fit.adapters,
        &header.owner.tenant, &header.owner.domain})
    put_text(body, *text);
  header.raw = kMagic;
  put(header.raw, kStateFormatVersion);
  put(header.raw, static_cast<std::uint32_t>(kPrefixBytes + body.size() + kDigestBytes));
  header.raw += body;
  header.raw += sha256_hex(header.raw);
}

std::uint64_t state_file_bytes(const StateHeader& header) {
  return data_at(header) + header.data_bytes + kTagBytes;
}

Result<void> write_state(DurableFile& out, const StateHeader& header, const SecretKey& tenant_key,
                         const EngineState& state) {
  const SecretKey file_key = key_of(header, tenant_key);
  std::string raw = header.raw;
  if (auto written = out.append(bytes_of(raw)); !written) return written;

  std::vector<std::int32_t> tokens = state.tokens;
  AeadStream for_tokens(AeadUse::Seal, file_key, nonce_of(Section::Tokens));
  for_tokens.add_context(header.raw);
  for_tokens.apply(bytes_of(tokens));
  if (auto written = out.append(bytes_of(tokens)); !written) return written;
  if (auto written = out.append(for_tokens.tag()); !written) return written;

  AeadStream for_data(AeadUse::Seal, file_key, nonce_of(Section::Data));
  for_data.add_context(header.raw);
  const std::uint64_t from = kEngineHeadBytes + token_bytes(header);
  std::vector<std::uint8_t> buffer(std::min<std::uint64_t>(kPieceBytes, header.data_bytes));
  for (std::uint64_t done = 0; done < header.data_bytes;) {
    const auto piece =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), header.data_bytes - done));
    if (auto read = read_exactly(state.file.get(), piece, from + done); !read) return read;
    for_data.apply(piece);
    if (auto written = out.append(piece); !written) return written;
    done += piece.size();
  }
  return out.append(for_data.tag());
}

OrRefused<StateHeader> read_header(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0)
    return unreadable(file_error("cannot look at a prompt state", errno));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const auto wrong_length = [size] {
    return Refused{StateRefusal::WrongLength,
                   fmt::format("a prompt state's file has {} bytes, not what it should", size)};
  };
  if (!S_ISREG(status.st_mode))
    return Refused{StateRefusal::NotAState, "what should be a prompt state is no plain file"};
  if (size < kPrefixBytes) return wrong_length();
  StateHeader header;
  header.raw.resize(kPrefixBytes);
  if (auto read = read_exactly(fd, bytes_of(header.raw), 0); !read) return unreadable(read.error());
  if (!header.raw.starts_with(kMagic))
    return Refused{StateRefusal::NotAState, "the file does not begin as a prompt state does"};
  std::uint32_t version = 0, header_bytes = 0;
  Taker taker(std::string_view(header.raw).substr(kMagic.size()));
  taker.number(version);
  taker.number(header_bytes);
  if (version != kStateFormatVersion)
    return Refused{
        StateRefusal::ForeignVersion,
        fmt::format("the prompt state has format {}, not {}", version, kStateFormatVersion)};
  const Refused damaged{StateRefusal::HeaderDamaged, "the header of a prompt state is damaged"};
  if (header_bytes < kHeaderBytesMin || header_bytes > kHeaderBytesMax) return damaged;
  if (size < header_bytes) return wrong_length();
  header.raw.resize(header_bytes);
  if (auto read = read_exactly(fd, bytes_of(header.raw), 0); !read) return unreadable(read.error());
  if (!parse(header)) return damaged;
  if (header.engine_version != kEngineStateVersion)
    return Refused{StateRefusal::ForeignVersion,
                   fmt::format("the engine's state has version {}, not {}", header.engine_version,
                               kEngineStateVersion)};
  if (size != state_file_bytes(header)) return wrong_length();
  return header;
}

OrRefused<std::vector<std::int32_t>> read_tokens(int fd, const StateHeader& header,
                                                 const SecretKey& tenant_key) {
  std::vector<std::int32_t> tokens(header.tokens);
  if (auto read = read_exactly(fd, bytes_of(tokens), tokens_at(header)); !read)
    return unreadable(read.error());
  AeadTag tag;
  if (auto read = read_exactly(fd, tag, tokens_at(header) + token_bytes(header)); !read)
    return unreadable(read.error());
  AeadStream stream(AeadUse::Open, key_of(header, tenant_key), nonce_of(Section::Tokens));
  stream.add_context(header.raw);
  stream.apply(bytes_of(tokens));
  if (!stream.authentic(tag)) return not_authentic("tokens");
  return tokens;
}

OrRefused<UniqueFd> read_state(int fd, const StateHeader& header, const SecretKey& tenant_key) {
  auto tokens = read_tokens(fd, header, tenant_key);
  if (!tokens) return tokens.refused();
  auto file = make_memory_file();
  if (!file) return file.refused();
  std::string head;
  put(head, kEngineStateMagic);
  put(head, header.engine_version);
  put(head, header.tokens);
  for (const auto part : {bytes_of(head), bytes_of(*tokens)})
    if (auto written = write_exactly(file->get(), part, kCannotFill); !written)
      return unreadable(written.error());
  const auto genuine = open_data(fd, header, key_of(header, tenant_key), file->get());
  if (!genuine) return genuine.refused();
  if (!*genuine) return not_authentic("contents");
  return seal_memory_file(std::move(*file));
}

}  // namespace glowplug::models
