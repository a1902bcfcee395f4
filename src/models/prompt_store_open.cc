// How a prompt store comes back to its files: locks the folder, clears what a crash left, reads
// headers; and opens one state of them.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <string_view>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/durable_file.h"
#include "models/prompt_state_file.h"
#include "models/prompt_store.h"

namespace glowplug::models {
namespace {

namespace fs = std::filesystem;

// "00f3….state" → its id; nothing for any other name.
std::optional<std::uint64_t> id_in(std::string_view name) {
  constexpr std::string_view kEnding = ".state";
  constexpr std::size_t kDigits = 16;
  if (name.size() != kDigits + kEnding.size() || !name.ends_with(kEnding)) return std::nullopt;
  std::uint64_t id = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + kDigits, id, 16);
  if (error != std::errc() || end != name.data() + kDigits) return std::nullopt;
  return id;
}

}  // namespace

Result<std::unique_ptr<PromptStore>> PromptStore::open(PromptStoreOptions options,
                                                       UnixClock clock) {
  for (const std::string& folder : {options.folder, options.folder + "/states"})
    if (auto made = make_private_folder(folder); !made) return made.error();
  auto lock = FileLock::try_take(options.folder + "/lock");
  if (!lock) return lock.error();
  if (!*lock)
    return Error{std::string(domain::error::kStorageFailed),
                 fmt::format("the folder of prompt states '{}' is in use by another server; stop "
                             "that one or choose another folder",
                             options.folder),
                 {}};
  const std::string master =
      options.master_key_file.empty() ? options.folder + "/master.key" : options.master_key_file;
  remove_leftovers(options.folder);
  auto keys = TenantKeys::open(options.folder + "/keys", master);
  if (!keys) return keys.error();
  std::unique_ptr<PromptStore> store(
      new PromptStore(std::move(options), std::move(clock), std::move(**lock), std::move(*keys)));
  if (auto scanned = store->scan(); !scanned) return scanned.error();
  return store;
}

Result<void> PromptStore::scan() {
  const std::string folder = options_.folder + "/states";
  remove_leftovers(folder);
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder, error))
    if (const auto id = id_in(file.path().filename().string()))
      scan_file(file.path().string(), *id);
  if (error) return file_error("cannot list " + folder, error.value());
  expire();
  const std::int64_t now = clock_();
  StateIds gone;
  {
    const std::lock_guard lock(mutex_);
    gone = index_.over_budget({.budget_bytes = options_.budget_bytes, .now = now});
    for (const std::uint64_t id : gone) (void)index_.take(id);
    counts_.evicted += gone.size();
  }
  remove_files(gone);
  return {};
}

void PromptStore::scan_file(const std::string& path, std::uint64_t id) {
  const auto file = open_kept(id);
  if (!file) {
    (void)refuse_state(id, file.refused());
    return;
  }
  const StateHeader& header = file->header;
  struct stat status {};
  const std::int64_t used =
      ::stat(path.c_str(), &status) == 0 ? std::int64_t{status.st_mtim.tv_sec} : header.made_at;
  const std::int64_t now = clock_();
  const std::lock_guard lock(mutex_);
  (void)index_.add(id, {.owner = header.owner,
                        .fit = header.fit,
                        .bytes = state_file_bytes(header),
                        .token_count = header.tokens,
                        .tokens = std::nullopt,
                        .uses = 0,
                        .last_used = std::min(used, now),
                        .recompute = std::chrono::microseconds(header.recompute_us),
                        .in_memory = UniqueFd()});
}

OrRefused<PromptStore::OpenedState> PromptStore::open_kept(std::uint64_t id) {
  OpenedState file;
  file.fd.reset(::open(path_of(id).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.fd.valid()) {
    // A link where a file should be is none of ours.
    const StateRefusal reason = errno == ENOENT  ? StateRefusal::Unknown
                                : errno == ELOOP ? StateRefusal::NotAState
                                                 : StateRefusal::Unreadable;
    return Refused{reason, file_error("cannot open a prompt state", errno).message};
  }
  auto header = read_header(file.fd.get());
  if (!header) return header.refused();
  if (header->id != id)
    return Refused{StateRefusal::HeaderDamaged, "the file has another prompt state's name"};
  const auto key = keys_->find(header->owner.tenant);
  if (!key) return Refused{StateRefusal::Unreadable, key.error().message};
  if (!*key) return Refused{StateRefusal::NoKey, "the key of the prompt state's tenant is gone"};
  file.header = std::move(*header);
  file.key = **key;
  return file;
}

OrRefused<UniqueFd> PromptStore::read_kept(std::uint64_t id, const StateOwner& owner,
                                           const StateFit& fit) {
  const auto file = open_kept(id);
  if (!file) return file.refused();
  // The file may not be the one that the index was made from.
  if (file->header.owner != owner || file->header.fit != fit)
    return Refused{StateRefusal::HeaderDamaged, "the file is another prompt state's"};
  return read_state(file->fd.get(), file->header, file->key);
}

}  // namespace glowplug::models
