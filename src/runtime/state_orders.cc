#include "runtime/state_orders.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <unistd.h>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <sys/mman.h>

#include "domain/errors.h"
#include "runtime/order.h"

namespace glowplug::runtime {
namespace {

constexpr std::size_t kFilesMax = 64;                        // with one order
constexpr std::size_t kKeepOrdersMax = 4, kWantedMax = 256;  // not carried out yet, of one replica

Result<UniqueFd> make_file(const char* name, std::string_view bytes) {
  UniqueFd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  while (file.valid() && !bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written <= 0) break;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  if (file.valid() && bytes.empty()) return file;
  return Error{std::string(domain::error::kFunctionFailed),
               fmt::format("no memory file can be made: {}", std::strerror(errno)),
               {}};
}

template <typename Value>
void append(std::string& bytes, const Value& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

// In the machine's own order: a number, the count of tokens, and these.
Result<void> StateOrders::remember(int control, std::span<const RememberedPrompt> prompts) {
  if (slots_ == 0) return {};
  bound_ = true;
  std::string table;
  for (const RememberedPrompt& prompt : prompts) {
    append(table, prompt.id);
    append(table, static_cast<std::uint32_t>(prompt.tokens.size()));
    for (const std::int32_t token : prompt.tokens) append(table, token);
  }
  const Result<UniqueFd> file = make_file("prompts", table);
  if (!file) return file.error();
  const int descriptor = file->get();
  return send_order(control, {{"remember", true}}, {&descriptor, 1});
}

Result<void> StateOrders::keep(int control, Why why) {
  if (!bound_ || asked_.size() == kKeepOrdersMax) return {};
  std::vector<UniqueFd> files;
  std::vector<int> descriptors;
  for (std::size_t i = 0; i < std::min(static_cast<std::size_t>(slots_), kFilesMax); ++i) {
    Result<UniqueFd> file = make_file("state", {});
    if (!file) return file.error();
    descriptors.push_back(file->get());
    files.push_back(std::move(*file));
  }
  if (Result<void> sent =
          send_order(control, {{"keep", why == Why::Idle ? "idle" : "overwriting"}}, descriptors);
      !sent)
    return sent;
  asked_.push_back(std::move(files));
  return {};
}

bool StateOrders::note_wanted() { return ++wanted_ <= kWantedMax; }

Result<void> StateOrders::give(int control, std::uint64_t id, UniqueFd state) {
  if (wanted_ > 0) --wanted_;
  if (!state.valid()) {
    Result<UniqueFd> none = make_file("none", {});
    if (!none) return none.error();
    state = std::move(*none);
  }
  const int descriptor = state.get();
  return send_order(control, {{"give", id}}, {&descriptor, 1});
}

std::vector<KeptCopy> StateOrders::kept(const WorkerKept& said) {
  if (asked_.empty()) return {};
  std::vector<UniqueFd> files = std::move(asked_.front());
  asked_.pop_front();
  files.resize(std::min(said.count, files.size()));
  std::vector<KeptCopy> copies;
  for (UniqueFd& file : files) copies.push_back({.file = std::move(file)});
  for (const WorkerKept::Shared& one : said.shared) {
    if (one.copy >= copies.size()) continue;
    copies[one.copy].shared_tokens = one.tokens;
    copies[one.copy].shared_prompts = one.prompts;
  }
  return copies;
}

Result<UniqueFd> make_start_file(std::span<const std::string> argv,
                                 std::span<const std::string> env) {
  boost::json::object start;
  boost::json::array& words = start["argv"].emplace_array();
  for (const std::string& word : argv.subspan(1)) words.emplace_back(word);
  boost::json::array& variables = start["env"].emplace_array();
  for (const std::string& variable : env) variables.emplace_back(variable);
  return make_file("start", boost::json::serialize(start));
}

Result<UniqueFd> make_prime_file(std::span<const std::string> texts,
                                 const std::vector<std::int32_t>* tokens) {
  boost::json::array list;
  for (const std::string& text : texts) list.emplace_back(text);
  if (tokens != nullptr) list.emplace_back(boost::json::array(tokens->begin(), tokens->end()));
  return make_file("primes", boost::json::serialize(list));
}

}  // namespace glowplug::runtime
