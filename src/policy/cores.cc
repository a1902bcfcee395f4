#include "policy/cores.h"

#include <algorithm>

namespace glowplug::policy {

int grant_threads(const CoreShare& share) {
  const int total = std::max(1, share.cores_total);
  if (share.threads_requested > 0) return std::min(share.threads_requested, total);
  const int left = total - std::clamp(share.cores_declared, 0, total);
  return std::max(1, left / (1 + std::max(0, share.replicas_busy)));
}

void add_neighbour(CoreShare& share, Computes where, int threads) {
  if (where == Computes::HereShared)
    ++share.replicas_busy;
  else
    share.cores_declared += where == Computes::Elsewhere ? 1 : threads;
}

namespace {

int threads_of(const CoreUser& user, int share, int cores_total) {
  if (user.where == Computes::HereShared) return share;
  if (user.where == Computes::Elsewhere) return 1;
  return std::clamp(user.threads, 1, std::max(1, cores_total));
}

int share_of_each(int cores, const std::vector<CoreUser>& working) {
  CoreShare share{.cores_total = cores, .replicas_busy = -1};  // less the one that asks
  for (const CoreUser& one : working)
    if (one.claim != Claim::Yields) add_neighbour(share, one.where, one.threads);
  return grant_threads(share);
}

// Among those that yield, the first that find room: one that shares needs a core, one that declares
// all of its threads.
void share_what_is_left(int left, const std::vector<CoreUser>& working, std::vector<int>& threads) {
  std::vector<std::size_t> sharing;
  for (std::size_t i = 0; i < working.size(); ++i) {
    if (working[i].claim != Claim::Yields) continue;
    const bool shares = working[i].where != Computes::HereAsDeclared;
    const int least = shares ? 1 : std::max(1, working[i].threads);
    if (least > left) continue;
    left -= least;
    threads[i] = least;
    if (shares) sharing.push_back(i);
  }
  if (sharing.empty()) return;
  const int more = left / static_cast<int>(sharing.size());
  for (const std::size_t i : sharing) threads[i] += more;
}

}  // namespace

std::vector<int> share_cores(int cores_total, const std::vector<CoreUser>& working) {
  const auto is_first = [](const CoreUser& one) { return one.claim == Claim::First; };
  std::vector<CoreUser> users = working;
  if (std::none_of(users.begin(), users.end(), is_first))
    for (CoreUser& one : users) one.claim = Claim::Beside;  // nobody to yield to
  std::vector<int> threads(users.size(), 0);
  const int each = share_of_each(cores_total, users);
  int left = cores_total;
  for (std::size_t i = 0; i < users.size(); ++i) {
    if (users[i].claim == Claim::Yields) continue;
    threads[i] = threads_of(users[i], each, cores_total);
    left -= threads[i];
  }
  share_what_is_left(left, users, threads);
  return threads;
}

}  // namespace glowplug::policy
