#include "models/prompt_store.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/durable_file.h"
#include "models/memory_file.h"
#include "models/prompt_state_file.h"

namespace glowplug::models {
namespace {

std::string_view code_of(StateRefusal reason) {
  switch (reason) {
    case StateRefusal::OtherOwner:
    case StateRefusal::OtherFit:
    case StateRefusal::Unknown: return domain::error::kNotFound;
    case StateRefusal::TooLarge:
    case StateRefusal::NoRoom: return domain::error::kDiskFull;
    case StateRefusal::BadArgument: return domain::error::kInvalidValue;
    default: return domain::error::kStorageFailed;
  }
}

// Said alike whether there is none or it is another's, so that the answer tells nothing of others.
Refused unknown(StateRefusal reason) { return {reason, "there is no such prompt state"}; }

Refused other_fit() {
  return {StateRefusal::OtherFit,
          "the prompt state was made with another model, engine, settings or adapters"};
}

// The time of a state's last use is its file's. Where it cannot be set, the state goes earlier.
void set_last_used(const std::string& path, std::int64_t now) {
  const timespec times[2] = {{.tv_sec = now, .tv_nsec = 0}, {.tv_sec = now, .tv_nsec = 0}};
  (void)::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
}

std::uint64_t draw_id() {
  std::array<std::uint8_t, 8> bytes;
  std::uint64_t id = 0;
  while (id == 0) {
    fill_random(bytes);
    for (const std::uint8_t byte : bytes) id = id << 8 | byte;
  }
  return id;
}

}  // namespace

struct PromptStore::Draft {
  StateHeader header;
  EngineState state;
  std::int64_t now = 0;
};

PromptStore::PromptStore(PromptStoreOptions options, UnixClock clock, FileLock folder_lock,
                         std::unique_ptr<TenantKeys> keys)
    : options_(std::move(options)),
      clock_(std::move(clock)),
      folder_lock_(std::move(folder_lock)),
      keys_(std::move(keys)) {}

std::string PromptStore::path_of(std::uint64_t id) const {
  return fmt::format("{}/states/{:016x}.state", options_.folder, id);
}

std::vector<KeptState> PromptStore::remembered(const StateOwner& owner, const StateFit& fit) {
  expire();
  learn_tokens(owner);
  const std::lock_guard lock(mutex_);
  std::vector<KeptState> states;
  for (const auto& [id, entry] : index_.entries())
    if (entry.owner == owner && entry.fit == fit && entry.tokens)
      states.push_back({id, *entry.tokens, entry.bytes});
  return states;
}

// Two threads may read the same list; both find the same.
void PromptStore::learn_tokens(const StateOwner& owner) {
  StateIds unread;
  {
    const std::lock_guard lock(mutex_);
    unread = index_.without_tokens(owner);
  }
  for (const std::uint64_t id : unread) {
    const auto file = open_kept(id);
    if (!file) {
      (void)refuse_state(id, file.refused());
      continue;
    }
    auto tokens = read_tokens(file->fd.get(), file->header, file->key);
    if (!tokens) {
      (void)refuse_state(id, tokens.refused());
      continue;
    }
    const std::lock_guard lock(mutex_);
    if (StateEntry* entry = index_.find(id)) entry->tokens = prompt_tokens(*tokens);
  }
}

Result<std::uint64_t> PromptStore::keep(const StateOwner& owner, const StateFit& fit, int fd,
                                        Duration recompute) {
  if (const auto fault = fault_of(owner, fit)) return refuse(*fault);
  auto state = read_engine_state(fd);
  if (!state) return refuse(state.refused());
  expire();
  learn_tokens(owner);
  Draft draft{.header = {}, .state = std::move(*state), .now = clock_()};
  StateHeader& header = draft.header;
  header.id = draw_id();
  header.made_at = draft.now;
  header.recompute_us =
      static_cast<std::uint64_t>(std::chrono::floor<std::chrono::microseconds>(
                                     std::clamp<Duration>(recompute, Duration(0), kRecomputeMax))
                                     .count());
  header.data_bytes = draft.state.data_bytes;
  header.tokens = static_cast<std::uint32_t>(draft.state.tokens.size());
  header.fit = fit;
  header.owner = owner;
  finish_header(header);
  auto in_memory = reopen_memory_file(draft.state.file.get());
  if (!in_memory) return refuse(in_memory.refused());

  // The entry comes before the key: a tenant forgotten from here on takes the entry with it, and
  // what is written then is removed again.
  const Admission admission = admit(header.id,
                                    {.owner = owner,
                                     .fit = fit,
                                     .bytes = state_file_bytes(header),
                                     .token_count = header.tokens,
                                     .tokens = prompt_tokens(draft.state.tokens),
                                     .uses = 0,
                                     .last_used = draft.now,
                                     .recompute = recompute,
                                     .in_memory = std::move(*in_memory),
                                     .pending = true},
                                    draft.now);
  remove_files(admission.gone);
  if (admission.refused) return refuse(*admission.refused);
  if (admission.already) {
    note_use(*admission.already, draft.now);
    return *admission.already;
  }
  if (auto written = write(draft); !written) {
    remove_entry(header.id);
    (void)refuse({StateRefusal::Unreadable, {}});  // counted; the words are the error's
    return written.error();
  }
  const auto replaced = commit(header.id);
  remove_files(replaced ? *replaced : StateIds{header.id});
  if (!replaced) return refuse(replaced.refused());
  return header.id;
}

PromptStore::Admission PromptStore::admit(std::uint64_t id, StateEntry entry, std::int64_t now) {
  Admission admission;
  if (entry.bytes > options_.budget_bytes) {
    admission.refused = {StateRefusal::TooLarge,
                         fmt::format("the prompt state needs {} bytes of a budget of {}",
                                     entry.bytes, options_.budget_bytes)};
    return admission;
  }
  const std::lock_guard lock(mutex_);
  admission.already = index_.with_tokens(entry);
  if (admission.already) return admission;
  const auto gone = index_.make_room(entry, {.budget_bytes = options_.budget_bytes, .now = now});
  if (!gone || index_.pending() >= domain::kPromptStatesPendingMax) {
    admission.refused = {StateRefusal::NoRoom,
                         "there is no room beside the prompt states that are being written"};
    return admission;
  }
  for (const std::uint64_t victim : *gone) (void)index_.take(victim);
  counts_.evicted += gone->size();
  admission.gone = *gone;
  const bool added = index_.add(id, std::move(entry));
  GLOWPLUG_ASSERT(added);  // ids are 64 random bits
  return admission;
}

Result<void> PromptStore::write(const Draft& draft) {
  const auto key = keys_->obtain(draft.header.owner.tenant);
  if (!key) return key.error();
  auto file = DurableFile::start(path_of(draft.header.id));
  if (!file) return file.error();
  if (auto written = write_state(*file, draft.header, *key, draft.state); !written)
    return written.error();
  const auto published = file->publish(IfThere::Replace);
  if (!published) return published.error();
  set_last_used(path_of(draft.header.id), draft.now);
  return {};
}

OrRefused<StateIds> PromptStore::commit(std::uint64_t id) {
  std::vector<UniqueFd> closed_without_the_lock;
  const std::lock_guard lock(mutex_);
  StateEntry* entry = index_.find(id);
  if (entry == nullptr)
    return Refused{StateRefusal::Unknown, "the prompt state was dropped while it was written"};
  entry->pending = false;
  closed_without_the_lock = index_.shrink_memory(options_.memory_bytes);
  StateIds replaced = index_.replaced_by(*entry);
  for (const std::uint64_t old : replaced) (void)index_.take(old);
  counts_.replaced += replaced.size();
  ++counts_.kept;
  return replaced;
}

Result<UniqueFd> PromptStore::load(const StateOwner& owner, const StateFit& fit, std::uint64_t id) {
  expire();
  UniqueFd in_memory;
  std::optional<Refused> refused;
  {
    const std::lock_guard lock(mutex_);
    const StateEntry* entry = index_.find(id);
    if (entry == nullptr)
      refused = unknown(StateRefusal::Unknown);
    else if (entry->owner != owner)
      refused = unknown(StateRefusal::OtherOwner);
    else if (entry->fit != fit)
      refused = other_fit();
    else if (entry->in_memory.valid()) {
      in_memory.reset(::fcntl(entry->in_memory.get(), F_DUPFD_CLOEXEC, 0));
      if (!in_memory.valid())
        refused = {StateRefusal::Unreadable, file_error("cannot hand out a state", errno).message};
    }
  }
  if (refused) return refuse(*refused);
  auto state = in_memory.valid() ? reopen_memory_file(in_memory.get()) : read_kept(id, owner, fit);
  if (!state) return refuse_state(id, state.refused());
  note_use(id, clock_());
  if (!in_memory.valid()) hold(id, *state);
  const std::lock_guard lock(mutex_);
  ++counts_.restored;
  return std::move(*state);
}

void PromptStore::hold(std::uint64_t id, const UniqueFd& state) {
  if (options_.memory_bytes == 0) return;
  auto again = reopen_memory_file(state.get());
  if (!again) return;
  std::vector<UniqueFd> closed_without_the_lock;
  const std::lock_guard lock(mutex_);
  StateEntry* entry = index_.find(id);
  if (entry == nullptr || entry->in_memory.valid()) return;
  entry->in_memory = std::move(*again);
  closed_without_the_lock = index_.shrink_memory(options_.memory_bytes);
}

Result<void> PromptStore::drop(std::uint64_t id) {
  remove_entry(id);
  if (::unlink(path_of(id).c_str()) == 0) return sync_folder(options_.folder + "/states");
  if (errno == ENOENT) return {};
  return file_error("cannot remove a prompt state", errno);
}

Result<void> PromptStore::forget_tenant(const std::string& tenant) {
  const auto forgotten = keys_->forget(tenant);
  std::vector<std::optional<StateEntry>> closed_without_the_lock;
  StateIds ids;
  {
    const std::lock_guard lock(mutex_);
    ids = index_.of_tenant(tenant);
    for (const std::uint64_t id : ids) closed_without_the_lock.push_back(index_.take(id));
  }
  remove_files(ids);
  return forgotten;
}

void PromptStore::expire() {
  const std::int64_t oldest =
      clock_() - std::chrono::ceil<std::chrono::seconds>(options_.ttl).count();
  StateIds ids;
  {
    const std::lock_guard lock(mutex_);
    ids = index_.last_used_before(oldest);
    for (const std::uint64_t id : ids) (void)index_.take(id);
    counts_.expired += ids.size();
  }
  remove_files(ids);
}

void PromptStore::note_use(std::uint64_t id, std::int64_t now) {
  {
    const std::lock_guard lock(mutex_);
    StateEntry* entry = index_.find(id);
    if (entry == nullptr) return;
    ++entry->uses;
    entry->last_used = std::max(entry->last_used, now);
  }
  set_last_used(path_of(id), now);
}

void PromptStore::remove_files(const StateIds& ids) {
  for (const std::uint64_t id : ids) (void)::unlink(path_of(id).c_str());
}

void PromptStore::remove_entry(std::uint64_t id) {
  std::optional<StateEntry> closed_without_the_lock;
  const std::lock_guard lock(mutex_);
  closed_without_the_lock = index_.take(id);
}

Error PromptStore::refuse(const Refused& refused) {
  const std::lock_guard lock(mutex_);
  ++counts_.refused[static_cast<std::size_t>(refused.reason)];
  return {std::string(code_of(refused.reason)), refused.words, {}};
}

Error PromptStore::refuse_state(std::uint64_t id, const Refused& refused) {
  if (is_damage(refused.reason)) {
    remove_entry(id);
    remove_files({id});
    if (options_.on_damage) options_.on_damage(id, refused.words);
  } else if (refused.reason == StateRefusal::Unknown) {
    remove_entry(id);
  }
  return refuse(refused);
}

std::vector<StateSummary> PromptStore::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<StateSummary> rows;
  for (const auto& [id, entry] : index_.entries())
    rows.push_back({.id = id,
                    .owner = entry.owner,
                    .model_sha256 = entry.fit.model_sha256,
                    .tokens = entry.token_count,
                    .bytes = entry.bytes,
                    .uses = entry.uses,
                    .last_used = entry.last_used,
                    .standing = entry.pending ? StateStanding::Pending : StateStanding::Kept});
  return rows;
}

PromptStoreCounts PromptStore::counts() const {
  const std::lock_guard lock(mutex_);
  PromptStoreCounts counts = counts_;
  counts.states = index_.entries().size();
  counts.bytes_held = index_.bytes();
  counts.memory_held = index_.memory_bytes();
  return counts;
}

}  // namespace glowplug::models
