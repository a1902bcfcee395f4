#include "worker/template_loop.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <poll.h>
#include <span>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "domain/errors.h"
#include "worker/control_channel.h"
#include "worker/order.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;

constexpr std::size_t kChannels = 3;  // control, lifeline, output; then the leaf cgroup, primes

struct Received {
  ForkOrder order;
  UniqueFd output;
  UniqueFd leaf_directory;             // born in
  std::vector<UniqueFd> leaf_entries;  // or to be entered
};

void take_leaf(const json::object& fields, std::span<UniqueFd> descriptors, Received& received) {
  const json::value* leaf = fields.if_contains("leaf");
  if (!leaf || !leaf->is_string()) return;
  if (leaf->get_string() == "directory" && !descriptors.empty())
    received.leaf_directory = std::move(descriptors[0]);
  if (leaf->get_string() != "entries") return;
  for (UniqueFd& entry : descriptors)
    if (entry.valid()) received.leaf_entries.push_back(std::move(entry));
}

// Nothing when it is no order to fork.
std::optional<Received> take_order(Order order) {
  std::vector<UniqueFd>& descriptors = order.descriptors;
  if (descriptors.size() < kChannels) return std::nullopt;
  const json::object& fields = order.fields;
  const json::value* socket_path = fields.if_contains("fork");
  const json::value* threads = fields.if_contains("threads");
  const json::value* cores = fields.if_contains("cores");
  const json::value* warm = fields.if_contains("warm");
  if (!socket_path || !socket_path->is_string() || !threads || !threads->is_int64() || !cores ||
      !cores->is_int64())
    return std::nullopt;
  Received received{.order = {.socket_path = std::string(socket_path->get_string()),
                              .threads = static_cast<int>(threads->get_int64()),
                              .cores = static_cast<int>(cores->get_int64()),
                              .warm = warm && warm->is_bool() && warm->get_bool(),
                              .control = std::move(descriptors[0]),
                              .lifeline = std::move(descriptors[1]),
                              .prime = {}},
                    .output = std::move(descriptors[2])};
  if (fields.contains("prime")) {
    received.order.prime = std::move(descriptors.back());
    descriptors.pop_back();
  }
  take_leaf(fields, std::span(descriptors).subspan(kChannels), received);
  return received;
}

bool say(const UniqueFd& control, std::string_view line) {
  return ::send(control.get(), line.data(), line.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(line.size());
}

// A fork whose child is the server's. The C library keeps the thread's id in memory and would go on
// with the template's; the kernel writes the new one there, at the address that the library has
// told it for its own purposes. `leaf` is -1 or the cgroup to be born in; where that is refused,
// the child is born beside the template, but want of room (EAGAIN) is an answer.
pid_t clone_sibling(int leaf) {
  int* tid_address = nullptr;
  clone_args arguments{};
  arguments.flags = CLONE_PARENT;
  if (::prctl(PR_GET_TID_ADDRESS, &tid_address) == 0 && tid_address) {
    arguments.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    arguments.child_tid = reinterpret_cast<std::uint64_t>(tid_address);
  }
  if (leaf >= 0) {
    const std::uint64_t plain = std::exchange(arguments.flags, arguments.flags | CLONE_INTO_CGROUP);
    arguments.cgroup = static_cast<std::uint64_t>(leaf);
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid >= 0 || errno == EAGAIN) return static_cast<pid_t>(pid);
    arguments.flags = plain;
    arguments.cgroup = 0;
  }
  return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
}

// What a replica started by exec would be from the outside: ended with the server, its own group
// and name, output into its own pipe. It leaves the template's group only when the server knows of
// it: until then whoever ends the template's group ends it too.
void become_replica(const Received& received, pid_t server) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != server) ::_exit(0);
  if (!say(received.order.control, forked_line(::getpid()))) ::_exit(0);
  for (const UniqueFd& entry : received.leaf_entries)
    if (::pwrite(entry.get(), "0", 1, 0) != 1) continue;  // the server sees who is inside
  ::setpgid(0, 0);
  ::dup2(received.output.get(), STDOUT_FILENO);
  ::dup2(received.output.get(), STDERR_FILENO);
  ::prctl(PR_SET_NAME, "glowplug-worker", 0, 0, 0);
}

// harden_process() has blocked both signals, so they wait here.
UniqueFd open_stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC));
}

}  // namespace

ForkOrder run_template_loop(UniqueFd channel, UniqueFd lifeline) {
  const UniqueFd stop = open_stop_signals();
  const pid_t server = ::getppid();
  ::prctl(PR_SET_NAME, "glowplug-templ", 0, 0, 0);
  for (;;) {
    std::array<pollfd, 3> watched{
        pollfd{channel.get(), POLLIN, 0}, {lifeline.get(), POLLIN, 0}, {stop.get(), POLLIN, 0}};
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;
    if (watched[1].revents || watched[2].revents) ::_exit(0);
    if (!watched[0].revents) continue;
    Order order;
    const Receipt receipt = receive_order(channel.get(), order);
    if (receipt == Receipt::Closed) ::_exit(0);
    if (receipt == Receipt::Unreadable) continue;
    std::optional<Received> received = take_order(std::move(order));
    if (!received) continue;  // its descriptors are closed, which tells the server
    const pid_t pid = clone_sibling(received->leaf_directory.get());
    if (pid == 0) {
      become_replica(*received, server);
      return std::move(received->order);
    }
    if (pid < 0)
      say(received->order.control,
          failed_line(std::string("the template cannot fork: ") + std::strerror(errno)));
  }
}

Result<std::vector<Prime>> read_primes(int fd) {
  const Error unreadable{
      std::string(domain::error::kFunctionFailed), "the prompts to prime with cannot be read", {}};
  struct stat status {};
  if (::fstat(fd, &status) != 0) return unreadable;
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  if (::pread(fd, text.data(), text.size(), 0) != status.st_size) return unreadable;
  boost::system::error_code error;
  const json::value list = json::parse(text, error);
  if (error || !list.is_array()) return unreadable;
  std::vector<Prime> primes;
  for (const json::value& one : list.get_array()) {
    if (one.is_string()) primes.push_back({std::string(one.get_string()), {}});
    if (!one.is_array()) continue;
    Prime& prime = primes.emplace_back();
    for (const json::value& token : one.get_array())
      if (token.is_int64()) prime.tokens.push_back(static_cast<std::int32_t>(token.get_int64()));
  }
  return primes;
}

}  // namespace glowplug::worker
