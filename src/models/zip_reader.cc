#include "models/zip_reader.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <fnmatch.h>
#include <optional>
#include <vector>
#include <zlib.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/unique_fd.h"
#include "domain/errors.h"

namespace glowplug::models {
namespace {

constexpr std::uint32_t kDirectoryMagic = 0x02014b50;
constexpr std::uint32_t kLocalMagic = 0x04034b50;
constexpr std::size_t kTailBytes = 22 + 65'535;  // end record plus the longest comment
constexpr std::size_t kDirectoryBytesMax = 16u << 20;
constexpr std::size_t kChunkBytes = 256 * 1024;

struct Member {
  std::string name;
  unsigned method = 0;
  std::uint32_t crc = 0;
  std::uint64_t packed = 0;
  std::uint64_t plain = 0;
  std::uint64_t header_at = 0;
};

std::uint32_t number(const std::string& bytes, std::size_t at, int size) {
  std::uint32_t value = 0;
  for (int i = size - 1; i >= 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(i)]);
  return value;
}

class Archive final {
 public:
  explicit Archive(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status {};
    if (fd_.valid() && ::fstat(fd_.get(), &status) == 0)
      size_ = static_cast<std::uint64_t>(status.st_size);
  }

  Error fault(const std::string& why) const {
    return {std::string(domain::error::kModelRejected),
            fmt::format("{} is not a usable archive: {}", path_, why), "model"};
  }

  // Exactly `bytes` bytes at `at`, or nothing.
  std::optional<std::string> bytes_at(std::uint64_t at, std::size_t bytes) const {
    if (at > size_ || bytes > size_ - at) return std::nullopt;
    std::string text(bytes, '\0');
    std::size_t done = 0;
    while (done < bytes) {
      const ssize_t n =
          ::pread(fd_.get(), text.data() + done, bytes - done, static_cast<off_t>(at + done));
      if (n <= 0) return std::nullopt;
      done += static_cast<std::size_t>(n);
    }
    return text;
  }

  Result<std::vector<Member>> members() const {
    const std::size_t tail_bytes =
        static_cast<std::size_t>(std::min<std::uint64_t>(size_, kTailBytes));
    const auto tail = bytes_at(size_ - tail_bytes, tail_bytes);
    const std::size_t end = tail ? tail->rfind(std::string("PK\x05\x06", 4)) : std::string::npos;
    if (end == std::string::npos || tail->size() - end < 22)
      return fault("its end record is missing");
    const std::uint32_t count = number(*tail, end + 10, 2);
    const std::uint32_t bytes = number(*tail, end + 12, 4);
    const std::uint32_t at = number(*tail, end + 16, 4);
    if (count == 0xffff || at == 0xffffffff) return fault("archives in zip64 format are not read");
    if (bytes > kDirectoryBytesMax) return fault("its directory is too large");
    const auto directory = bytes_at(at, bytes);
    if (!directory) return fault("its directory lies outside the file");
    std::vector<Member> found;
    std::size_t next = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (directory->size() - next < 46 || number(*directory, next, 4) != kDirectoryMagic)
        return fault("its directory is damaged");
      const std::size_t name = number(*directory, next + 28, 2);
      const std::size_t whole =
          46 + name + number(*directory, next + 30, 2) + number(*directory, next + 32, 2);
      if (directory->size() - next < whole) return fault("its directory is damaged");
      found.push_back({directory->substr(next + 46, name), number(*directory, next + 10, 2),
                       number(*directory, next + 16, 4), number(*directory, next + 20, 4),
                       number(*directory, next + 24, 4), number(*directory, next + 42, 4)});
      next += whole;
    }
    return found;
  }

  // Where a member's packed bytes begin.
  std::optional<std::uint64_t> data_of(const Member& member) const {
    const auto header = bytes_at(member.header_at, 30);
    if (!header || number(*header, 0, 4) != kLocalMagic) return std::nullopt;
    const std::uint64_t at =
        member.header_at + 30 + number(*header, 26, 2) + number(*header, 28, 2);
    if (at > size_ || member.packed > size_ - at) return std::nullopt;
    return at;
  }

 private:
  std::string path_;
  UniqueFd fd_;
  std::uint64_t size_ = 0;
};

// Passes plain bytes on and checks that length and CRC are the promised ones.
struct Output {
  const std::function<bool(const char*, std::size_t)>& write;
  std::uint64_t bytes = 0;
  uLong crc = crc32(0, nullptr, 0);

  bool add(const char* data, std::size_t size) {
    crc = crc32(crc, reinterpret_cast<const Bytef*>(data), static_cast<uInt>(size));
    bytes += size;
    return write(data, size);
  }
};

enum class Unpacked { Done, Stopped, Damaged };

Unpacked copy_stored(const Archive& archive, const Member& member, std::uint64_t at,
                     Output& output) {
  for (std::uint64_t done = 0; done < member.packed;) {
    const auto chunk =
        archive.bytes_at(at + done, std::min<std::uint64_t>(kChunkBytes, member.packed - done));
    if (!chunk) return Unpacked::Damaged;
    if (!output.add(chunk->data(), chunk->size())) return Unpacked::Stopped;
    done += chunk->size();
  }
  return Unpacked::Done;
}

Unpacked inflate_member(const Archive& archive, const Member& member, std::uint64_t at,
                        Output& output) {
  struct Inflater {
    z_stream stream{};
    bool ready = inflateInit2(&stream, -MAX_WBITS) == Z_OK;
    ~Inflater() { inflateEnd(&stream); }
  } inflater;
  if (!inflater.ready) return Unpacked::Damaged;
  std::vector<char> plain(kChunkBytes);
  for (std::uint64_t done = 0; done < member.packed;) {
    auto chunk =
        archive.bytes_at(at + done, std::min<std::uint64_t>(kChunkBytes, member.packed - done));
    if (!chunk) return Unpacked::Damaged;
    done += chunk->size();
    inflater.stream.next_in = reinterpret_cast<Bytef*>(chunk->data());
    inflater.stream.avail_in = static_cast<uInt>(chunk->size());
    int state = Z_OK;
    do {
      inflater.stream.next_out = reinterpret_cast<Bytef*>(plain.data());
      inflater.stream.avail_out = static_cast<uInt>(plain.size());
      state = inflate(&inflater.stream, Z_NO_FLUSH);
      if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) return Unpacked::Damaged;
      const std::size_t size = plain.size() - inflater.stream.avail_out;
      if (output.bytes + size > member.plain) return Unpacked::Damaged;
      if (size > 0 && !output.add(plain.data(), size)) return Unpacked::Stopped;
    } while (state == Z_OK && inflater.stream.avail_out == 0);
    if (state == Z_STREAM_END) return Unpacked::Done;
  }
  return Unpacked::Damaged;
}

}  // namespace

Result<bool> extract_member(const std::string& path, const std::string& glob,
                            const std::function<bool(const char*, std::size_t)>& write) {
  const Archive archive(path);
  const auto members = archive.members();
  if (!members) return members.error();
  const Member* chosen = nullptr;
  for (const Member& member : *members) {
    if (::fnmatch(glob.c_str(), member.name.c_str(), 0) != 0) continue;
    if (chosen != nullptr) return archive.fault(fmt::format("several members match {}", glob));
    chosen = &member;
  }
  if (chosen == nullptr) return archive.fault(fmt::format("no member matches {}", glob));
  if (chosen->method != 0 && chosen->method != 8)
    return archive.fault("its compression method is unknown");
  const auto at = archive.data_of(*chosen);
  if (!at) return archive.fault(fmt::format("the member {} lies outside the file", chosen->name));
  Output output{write};
  const Unpacked unpacked = chosen->method == 0 ? copy_stored(archive, *chosen, *at, output)
                                                : inflate_member(archive, *chosen, *at, output);
  if (unpacked == Unpacked::Stopped) return false;
  if (unpacked == Unpacked::Damaged || output.bytes != chosen->plain || output.crc != chosen->crc)
    return archive.fault(fmt::format("the member {} is damaged", chosen->name));
  return true;
}

}  // namespace glowplug::models
