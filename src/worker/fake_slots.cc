#include "worker/fake_slots.h"

#include <algorithm>
#include <cstring>
#include <unistd.h>
#include <utility>

#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fnv.h"
#include "domain/errors.h"
#include "worker/fake_answer.h"

namespace glowplug::worker {
namespace {

constexpr std::uint32_t kMagic = 0x67677371, kVersion = 3;  // "ggsq"
constexpr std::chrono::milliseconds kAtOnce{0};
constexpr std::uint32_t kListMark = 0xffffffff, kListVersion = 1;

}  // namespace

std::vector<Token> word_tokens(std::string_view text) {
  std::vector<Token> tokens;
  for (const std::string_view word : words_of(text))
    tokens.push_back(static_cast<Token>(fnv(word) & 0x7fffffff));
  return tokens;
}

// Magic, version, and the core's list: a mark, its version, the tokens, and no pictures.
std::optional<std::vector<Token>> FakeSlots::save(int slot, int fd, std::chrono::milliseconds) {
  const std::lock_guard lock(mutex_);
  const std::vector<Token>& tokens = slots_.at(static_cast<std::size_t>(slot));
  const auto count = static_cast<std::uint32_t>(tokens.size());
  std::vector<std::uint32_t> words{kMagic, kVersion, count + 4, kListMark, kListVersion, count};
  for (const Token token : tokens) words.push_back(static_cast<std::uint32_t>(token));
  words.push_back(0);
  const std::size_t bytes = words.size() * sizeof(std::uint32_t);
  if (::lseek(fd, 0, SEEK_SET) != 0 ||
      ::write(fd, words.data(), bytes) != static_cast<ssize_t>(bytes))
    return std::nullopt;
  return tokens;
}

bool FakeSlots::restore(int slot, int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return false;
  std::vector<std::uint32_t> words(static_cast<std::size_t>(status.st_size) / 4);
  const std::size_t bytes = words.size() * sizeof(std::uint32_t);
  const std::lock_guard lock(mutex_);
  std::vector<Token>& tokens = slots_.at(static_cast<std::size_t>(slot));
  tokens.clear();
  if (::pread(fd, words.data(), bytes, 0) != static_cast<ssize_t>(bytes) || words.size() < 7 ||
      words[0] != kMagic || words[3] != kListMark || words[5] != words.size() - 7)
    return false;
  for (std::size_t i = 0; i < words[5]; ++i) tokens.push_back(static_cast<Token>(words[6 + i]));
  return true;
}

std::size_t FakeSlots::compute(int slot, const std::vector<Token>& prompt) {
  const std::lock_guard lock(mutex_);
  std::vector<Token>& tokens = slots_.at(static_cast<std::size_t>(slot));
  const std::size_t shared = shared_prefix(tokens, prompt);
  tokens = prompt;
  return std::min(shared, std::max<std::size_t>(1, prompt.size()) - 1);  // the last one is computed
}

Result<void> prime_fake_slots(const std::vector<Prime>& primes, int context, int count,
                              FakeSlots& slots, PromptMemory& memory) {
  for (std::size_t i = 0; i < primes.size(); ++i) {
    std::vector<Token> tokens =
        primes[i].tokens.empty() ? word_tokens(primes[i].text) : primes[i].tokens;
    if (tokens.size() >= static_cast<std::size_t>(context))
      return Error{std::string(domain::error::kFunctionFailed),
                   "prime " + std::to_string(i + 1) + " has " + std::to_string(tokens.size()) +
                       " tokens and a slot's context is " + std::to_string(context) +
                       "; shorten it or raise context",
                   {}};
    for (std::size_t slot = 0; slot < static_cast<std::size_t>(count); ++slot) {
      if (slot % primes.size() != i) continue;
      slots.compute(static_cast<int>(slot), tokens);
      memory.holds(static_cast<int>(slot), tokens);
    }
    UniqueFd state(::memfd_create("prime", MFD_CLOEXEC));
    FakeSlots copy(1);
    copy.compute(0, tokens);
    if (copy.save(0, state.get(), kAtOnce)) memory.add_prime(std::move(tokens), std::move(state));
  }
  return {};
}

}  // namespace glowplug::worker
