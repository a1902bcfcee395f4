#include "models/memory_file.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <span>
#include <string>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "domain/limits.h"
#include "models/durable_file.h"

namespace glowplug::models {
namespace {

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

Refused unreadable(std::string_view what) {
  return {StateRefusal::Unreadable, file_error(what, errno).message};
}

OrRefused<std::uint64_t> size_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return unreadable("cannot look at the engine's state");
  if (!S_ISREG(status.st_mode))
    return Refused{StateRefusal::NotAState, "the engine's state is no file"};
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  if (bytes > domain::kPromptStateBytesMax)
    return Refused{StateRefusal::TooLarge,
                   fmt::format("the engine's state has {} bytes, more than {}", bytes,
                               domain::kPromptStateBytesMax)};
  return bytes;
}

bool is_sealed(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & kSeals) == kSeals;
}

OrRefused<UniqueFd> copy_of(int fd, std::uint64_t bytes) {
  auto copy = make_memory_file();
  if (!copy) return copy.refused();
  off_t offset = 0;
  while (static_cast<std::uint64_t>(offset) < bytes) {
    const ssize_t n =
        ::sendfile(copy->get(), fd, &offset, bytes - static_cast<std::uint64_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return unreadable("cannot copy the engine's state");
    if (n == 0) return Refused{StateRefusal::WrongLength, "the engine's state shrank"};
  }
  return seal_memory_file(std::move(*copy));
}

OrRefused<UniqueFd> freeze(int fd) {
  const auto bytes = size_of(fd);
  if (!bytes) return bytes.refused();
  (void)::fcntl(fd, F_ADD_SEALS, kSeals);
  if (!is_sealed(fd)) return copy_of(fd, *bytes);
  return reopen_memory_file(fd);
}

}  // namespace

std::vector<std::int32_t> prompt_tokens(const std::vector<std::int32_t>& list) {
  constexpr std::int32_t kWrapped = -1;
  constexpr std::size_t kBefore = 3;  // mark, version, count
  if (list.size() < kBefore || list[0] != kWrapped) return list;
  const auto count = static_cast<std::size_t>(static_cast<std::uint32_t>(list[2]));
  const std::size_t most = list.size() - kBefore;
  const auto begin = list.begin() + static_cast<std::ptrdiff_t>(kBefore);
  return {begin, begin + static_cast<std::ptrdiff_t>(std::min(count, most))};
}

OrRefused<UniqueFd> make_memory_file() {
  UniqueFd file(::memfd_create("prompt-state", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) return unreadable("cannot make a file in memory");
  return file;
}

OrRefused<UniqueFd> seal_memory_file(UniqueFd file) {
  if (::fcntl(file.get(), F_ADD_SEALS, kSeals) != 0)
    return unreadable("cannot seal a file in memory");
  return reopen_memory_file(file.get());
}

OrRefused<UniqueFd> reopen_memory_file(int fd) {
  UniqueFd again(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDONLY | O_CLOEXEC));
  if (!again.valid()) return unreadable("cannot open a file in memory again");
  return again;
}

OrRefused<EngineState> read_engine_state(int fd) {
  auto frozen = freeze(fd);
  if (!frozen) return frozen.refused();
  const auto bytes = size_of(frozen->get());  // again: it could change until it was sealed
  if (!bytes) return bytes.refused();
  if (*bytes < kEngineHeadBytes)
    return Refused{StateRefusal::WrongLength,
                   fmt::format("the engine's state has {} bytes, not even a head", *bytes)};
  std::uint32_t head[3] = {};
  const auto read = [&frozen](void* out, std::size_t size, std::uint64_t offset) {
    return read_exactly(frozen->get(), {static_cast<std::uint8_t*>(out), size}, offset);
  };
  if (auto got = read(head, sizeof(head), 0); !got)
    return Refused{StateRefusal::Unreadable, got.error().message};
  const auto [magic, version, count] = head;
  if (magic != kEngineStateMagic)
    return Refused{
        StateRefusal::NotAState,
        fmt::format("the engine's state begins with {:08x}, not {:08x}", magic, kEngineStateMagic)};
  if (version != kEngineStateVersion)
    return Refused{
        StateRefusal::ForeignVersion,
        fmt::format("the engine's state has version {}, not {}", version, kEngineStateVersion)};
  if (count == 0 || count > static_cast<std::uint32_t>(domain::kContextMax))
    return Refused{
        count == 0 ? StateRefusal::NotAState : StateRefusal::TooLarge,
        fmt::format("the engine's state holds {} tokens, not 1 to {}", count, domain::kContextMax)};
  EngineState state;
  state.tokens.resize(count);
  const std::uint64_t token_bytes = std::uint64_t{count} * sizeof(std::int32_t);
  if (*bytes - kEngineHeadBytes < token_bytes)
    return Refused{
        StateRefusal::WrongLength,
        fmt::format("the engine's state has {} bytes, too few for its {} tokens", *bytes, count)};
  if (auto got = read(state.tokens.data(), token_bytes, kEngineHeadBytes); !got)
    return Refused{StateRefusal::Unreadable, got.error().message};
  state.data_bytes = *bytes - kEngineHeadBytes - token_bytes;
  state.file = std::move(*frozen);
  return state;
}

}  // namespace glowplug::models
