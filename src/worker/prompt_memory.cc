#include "worker/prompt_memory.h"

#include <algorithm>
#include <cstring>
#include <poll.h>
#include <unistd.h>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <sys/socket.h>
#include <sys/stat.h>

#include "domain/limits.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

constexpr auto kCatchUpLimit = 200ms;  // an order that came before a request counts for it
constexpr auto kGiveBackLimit = 500ms;
constexpr auto kFetchLimit = 2s;  // then the prompt is computed as if nothing were known
constexpr auto kIdleSaveLimit = 4s;
constexpr auto kLosingSaveLimit = 1s;
constexpr int kPausePerCopy = 19;  // so that such copies take a twentieth of the time at most
constexpr std::size_t kTableBytesMax = 256 * 1024 * 1024;

bool is_readable(int fd) {
  pollfd watched{fd, POLLIN, 0};
  return ::poll(&watched, 1, 0) > 0 && (watched.revents & POLLIN) != 0;
}

std::size_t file_bytes(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && status.st_size > 0 ? static_cast<std::size_t>(status.st_size)
                                                         : 0;
}

// Nothing of a file that is cut short is an entry.
template <typename Value>
bool read_value(const std::vector<char>& bytes, std::size_t& at, Value& value) {
  if (bytes.size() - at < sizeof value) return false;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  at += sizeof value;
  return true;
}

}  // namespace

PromptMemory::~PromptMemory() {
  if (orders_.joinable()) orders_.join();  // ends with the channel's other end
}

void PromptMemory::add_prime(std::vector<Token> tokens, UniqueFd state) {
  const std::lock_guard lock(mutex_);
  // Owners: the table and whoever restores it.
  primes_.push_back({0, std::move(tokens), std::make_shared<UniqueFd>(std::move(state))});
}

void PromptMemory::holds(int slot, std::vector<Token> tokens) {
  const std::lock_guard lock(mutex_);
  note_restored(slot, tokens.size());
  book_.holds(slot, std::move(tokens), SlotBook::Keep::No);
}

void PromptMemory::note_restored(int slot, std::size_t tokens) {
  const bool as_computed = states_.slots_too || tokens <= states_.cut_max;
  restored_[static_cast<std::size_t>(slot)] = as_computed ? 0 : tokens;
}

// The engine computes a prompt's last token in any case.
bool PromptMemory::is_beyond_use(int slot, const std::vector<Token>& prompt) const {
  const std::size_t from = std::min(shared_prefix(book_.tokens(slot), prompt), prompt.size() - 1);
  return from < restored_[static_cast<std::size_t>(slot)];
}

void PromptMemory::serve(int channel, SlotStates& engine, Others others) {
  channel_ = channel;
  engine_ = &engine;
  others_ = std::move(others);
  orders_ = std::thread([this] { take_orders(); });  // joined by the destructor
}

void PromptMemory::take_orders() {
  for (;;) {
    pollfd watched{channel_, POLLIN, 0};
    if (::poll(&watched, 1, -1) < 0) continue;
    {
      const std::lock_guard lock(mutex_);
      obeying_ = true;
    }
    Order order;
    const Receipt receipt = receive_order(channel_, order);
    if (receipt == Receipt::Taken) obey(std::move(order));
    {
      const std::lock_guard lock(mutex_);
      obeying_ = false;
      if (receipt == Receipt::Closed) channel_ = -1;
    }
    changed_.notify_all();
    if (receipt == Receipt::Closed) return;
  }
}

void PromptMemory::obey(Order order) {
  if (order.descriptors.empty()) return;
  if (order.fields.contains("remember")) return read_table(order.descriptors.front().get());
  if (const json::value* why = order.fields.if_contains("keep"))
    return keep(std::move(order.descriptors),
                *why == "overwriting" ? Copies::Losing : Copies::Idle);
  const json::value* id = order.fields.if_contains("give");
  if (id == nullptr && others_) return others_(order);
  if (id == nullptr || !id->is_number()) return;
  const std::lock_guard lock(mutex_);
  const auto wanted = wanted_.find(id->to_number<std::uint64_t>());
  if (wanted == wanted_.end()) return;
  wanted->second.here = true;
  // Owners: the table and the calls that wait.
  wanted->second.state = std::make_shared<UniqueFd>(std::move(order.descriptors.front()));
}

// Entries of a number, the count of tokens, and these; native order, it never leaves the machine.
void PromptMemory::read_table(int fd) {
  std::vector<char> bytes(std::min(file_bytes(fd), kTableBytesMax));
  if (::pread(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return;
  std::vector<Remembered> table;
  std::size_t at = 0;
  std::uint64_t id = 0;
  std::uint32_t count = 0;
  while (read_value(bytes, at, id) && read_value(bytes, at, count)) {
    if ((bytes.size() - at) / sizeof(Token) < count) break;
    std::vector<Token> tokens(count);
    std::memcpy(tokens.data(), bytes.data() + at, count * sizeof(Token));
    at += count * sizeof(Token);
    table.push_back({id, std::move(tokens), nullptr});
  }
  const std::lock_guard lock(mutex_);
  remembered_ = std::move(table);
  bound_ = true;
}

void PromptMemory::keep(std::vector<UniqueFd> files, Copies which) {
  std::unique_lock lock(mutex_);
  obeying_ = false;  // calls need not wait for it
  keeping_ = true;
  changed_.notify_all();
  if (which == Copies::Losing) asked_ = false;
  // An answer's last byte may be read before its slot is given back.
  if (which == Copies::Idle)
    changed_.wait_for(lock, kGiveBackLimit,
                      [this] { return !losing_.empty() || !book_.any_taken(); });
  std::size_t count = 0;  // a file that is not counted is the next one's, which is written over it
  json::array shared;
  const auto copy_each = [&](std::vector<int> slots, auto copy_one) {
    for (const int slot : slots) {
      if (count == files.size()) return;
      const SlotBook::Beginning beginning = book_.tell_beginning(slot);
      if (!(this->*copy_one)(lock, slot, files[count].get())) continue;
      if (beginning.tokens > 0)
        shared.emplace_back(json::object{
            {"copy", count}, {"tokens", beginning.tokens}, {"prompts", beginning.prompts}});
      ++count;
    }
  };
  copy_each(losing_, &PromptMemory::copy_losing);
  if (which == Copies::Idle)
    copy_each(book_.worth_keeping(domain::kKeptTokensMin), &PromptMemory::copy_idle);
  keeping_ = false;
  lock.unlock();
  json::object line{{"state", "kept"}, {"count", count}};
  if (!shared.empty()) line["shared"] = std::move(shared);
  say(json::serialize(line));
}

// The tokens of the copy, where they are those that the book tells of.
std::optional<std::vector<Token>> PromptMemory::copy(std::unique_lock<std::mutex>& lock, int slot,
                                                     int fd, std::chrono::milliseconds limit) {
  if (book_.is_kept(slot)) return std::nullopt;  // a call that may not be copied came between
  const std::uint64_t secrets = secrets_;
  lock.unlock();
  auto tokens = engine_->save(slot, fd, limit);
  lock.lock();
  // A call of the engine's choice may have come between.
  const std::span<const Token> told = book_.tokens(slot);
  if (!tokens || secrets != secrets_ ||
      shared_prefix(*tokens, told) != std::min(tokens->size(), told.size()))
    return std::nullopt;
  return tokens;
}

bool PromptMemory::copy_idle(std::unique_lock<std::mutex>& lock, int slot, int fd) {
  if (!book_.take_slot(slot)) return false;
  auto copied = copy(lock, slot, fd, kIdleSaveLimit);
  if (copied) book_.kept(slot, *std::move(copied));
  book_.give_back(slot);
  return copied.has_value();
}

bool PromptMemory::is_losing(int slot) const {
  return std::find(losing_.begin(), losing_.end(), slot) != losing_.end();
}

// A call that did not wait may have computed something else there by now.
bool PromptMemory::copy_losing(std::unique_lock<std::mutex>& lock, int slot, int fd) {
  if (!is_losing(slot)) return false;
  const auto began = std::chrono::steady_clock::now();
  const bool copied = copy(lock, slot, fd, kLosingSaveLimit).has_value() && is_losing(slot);
  const auto ended = std::chrono::steady_clock::now();
  next_copy_ = std::max(next_copy_, ended) + kPausePerCopy * (ended - began);
  std::erase(losing_, slot);
  changed_.notify_all();
  return copied;
}

void PromptMemory::copy_before_loss(std::unique_lock<std::mutex>& lock, int slot,
                                    const std::vector<Token>& prompt) {
  if (!bound_ || channel_ < 0 || book_.is_kept(slot)) return;
  const std::span<const Token> held = book_.tokens(slot);
  const Remembered* known = best_for(held, 0);
  std::size_t stays = shared_prefix(held, prompt);
  if (states_.slots_too && stays < held.size()) stays = 0;  // it cannot be cut
  if (known) stays = std::max(stays, shared_prefix(held, known->tokens));
  if (held.size() < stays + domain::kKeptTokensMin) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_copy_) return;
  losing_.push_back(slot);
  changed_.notify_all();
  if (!std::exchange(asked_, true)) say(R"({"state":"overwriting"})");
  changed_.wait_for(lock, copy_limit_, [this, slot] { return channel_ < 0 || !is_losing(slot); });
  if (std::erase(losing_, slot) == 0) return;
  asked_ = false;  // whoever comes after the pause asks again
  next_copy_ = now + kPausePerCopy * copy_limit_;
}

// What the server sent before a request is known before the request is placed.
void PromptMemory::catch_up(std::unique_lock<std::mutex>& lock) {
  const auto until = std::chrono::steady_clock::now() + kCatchUpLimit;
  changed_.wait_until(lock, until, [this] {
    return channel_ < 0 || keeping_ || (!obeying_ && !is_readable(channel_));
  });
}

const PromptMemory::Remembered* PromptMemory::best_for(std::span<const Token> prompt,
                                                       std::size_t more_than) const {
  const Remembered* best = nullptr;
  std::size_t most = more_than;
  for (const std::vector<Remembered>* table : {&primes_, &remembered_}) {
    for (const Remembered& one : *table) {
      const std::size_t shared = shared_prefix(one.tokens, prompt);
      const bool whole = shared == one.tokens.size() && shared < prompt.size();
      if (shared <= most || (one.tokens.size() > states_.cut_max && !whole)) continue;
      most = shared;
      best = &one;
    }
  }
  return best;
}

std::shared_ptr<UniqueFd> PromptMemory::fetch(std::unique_lock<std::mutex>& lock,
                                              const Remembered& state) {
  if (state.state) return state.state;
  const std::uint64_t id = state.id;
  Wanted& wanted = wanted_[id];  // stays where it is until the last call that waits has gone
  if (++wanted.calls == 1) say(json::serialize(json::object{{"state", "wants"}, {"id", id}}));
  changed_.wait_for(lock, kFetchLimit, [this, &wanted] { return wanted.here || channel_ < 0; });
  std::shared_ptr<UniqueFd> given = wanted.state;
  if (--wanted.calls == 0) wanted_.erase(id);
  if (given && given->valid() && file_bytes(given->get()) > 0) return given;
  std::erase_if(remembered_, [id](const Remembered& one) { return one.id == id; });
  return nullptr;
}

PromptMemory::Placed PromptMemory::place(std::vector<Token> prompt, SlotBook::Keep keep) {
  std::unique_lock lock(mutex_);
  if (channel_ >= 0) catch_up(lock);
  const std::size_t held = book_.best_shared(prompt);
  const Remembered* best = engine_ ? best_for(prompt, held + kWorthSharing - 1) : nullptr;
  const std::vector<Token> tokens = best ? best->tokens : std::vector<Token>{};
  const std::shared_ptr<UniqueFd> state = best ? fetch(lock, *best) : nullptr;
  const auto place = book_.take(state ? std::vector<Token>{} : prompt);
  if (!place) return {};
  Placed placed(*this, place->slot, std::move(prompt), keep);
  placed.secrets_ = secrets_;
  copy_before_loss(lock, place->slot, state ? tokens : placed.prompt_);
  if (!state) {
    placed.afresh_ = is_beyond_use(place->slot, placed.prompt_);
    if (placed.afresh_) note_restored(place->slot, 0);
    return placed;
  }
  lock.unlock();
  const auto began = std::chrono::steady_clock::now();
  const bool restored = engine_->restore(place->slot, state->get());
  placed.restored_in_ = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - began);
  lock.lock();
  note_restored(place->slot, restored ? tokens.size() : 0);
  book_.holds(place->slot, restored ? tokens : std::vector<Token>{}, SlotBook::Keep::No);
  return placed;
}

bool PromptMemory::leave_to_engine(SlotBook::Keep keep) {
  const std::lock_guard lock(mutex_);
  if (keep == SlotBook::Keep::No) {
    ++secrets_;
    for (int slot = 0; slot < book_.size(); ++slot) book_.holds(slot, {}, keep);
  }
  return std::any_of(restored_.begin(), restored_.end(), [](std::size_t each) { return each > 0; });
}

void PromptMemory::say(const std::string& line) {
  const std::string text = line + "\n";
  // A server that is gone ends the worker by its lifeline.
  [[maybe_unused]] const ssize_t sent = ::send(channel_, text.data(), text.size(), MSG_NOSIGNAL);
}

void PromptMemory::give_back(Placed& placed) {
  const std::lock_guard lock(mutex_);
  const bool known = placed.computed_ && placed.secrets_ == secrets_;
  book_.holds(placed.slot_, std::move(placed.prompt_), known ? placed.keep_ : SlotBook::Keep::No);
  book_.give_back(placed.slot_);
  changed_.notify_all();
}

PromptMemory::Placed::~Placed() {
  if (memory_ != nullptr) memory_->give_back(*this);
}

}  // namespace glowplug::worker
