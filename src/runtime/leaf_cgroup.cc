#include "runtime/leaf_cgroup.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

#include "base/read_file.h"
#include "domain/errors.h"
#include "runtime/device_probe.h"

namespace glowplug::runtime {

struct CgroupTreeState {
  CgroupBranches branches;
  int leaves = 0;  // alive; each points here
};

namespace {

constexpr long kPeriodUs = 100'000;      // the kernel's own default
constexpr double kQuotaUsMin = 1'000.0;  // the kernel refuses less

// The kernel charges up to 64 pages ahead, so the most that was ever charged stays this much below
// a limit that was met. Version 1 also counts refusals, but not those of the limit with swap, which
// it asks first (Linux 6.18).
constexpr std::uint64_t kChargeBytes = 1024 * 1024;

}  // namespace

Leaf::Leaf(CgroupTreeState& tree) : tree_(&tree) { ++tree.leaves; }

Leaf::Leaf(Leaf&& other) noexcept
    : tree_(std::exchange(other.tree_, nullptr)),
      folders_(std::move(other.folders_)),
      fd_(std::move(other.fd_)),
      refused_(std::move(other.refused_)),
      in_force_(other.in_force_) {}

Leaf& Leaf::operator=(Leaf&& other) noexcept {
  if (this == &other) return *this;
  give_up();
  tree_ = std::exchange(other.tree_, nullptr);
  folders_ = std::move(other.folders_);
  fd_ = std::move(other.fd_);
  refused_ = std::move(other.refused_);
  in_force_ = other.in_force_;
  return *this;
}

Leaf::~Leaf() { give_up(); }

void Leaf::give_up() {
  if (tree_ == nullptr) return;
  try_remove();
  for (Folder& folder : folders_) tree_->branches.left.push_back(std::move(folder.path));
  --tree_->leaves;
  tree_ = nullptr;
}

int Leaf::enter() const noexcept {
  int first = 0;
  for (const Folder& folder : folders_)
    if (::pwrite(folder.entry.get(), "0", 1, 0) != 1 && first == 0) first = errno;
  return first;
}

Result<void> Leaf::add(pid_t pid) const {
  Result<void> result;
  for (const Folder& folder : folders_) {
    const std::string file = folder.path + "/cgroup.procs";
    const int error = tree_->branches.calls.write_text(file, std::to_string(pid));
    if (error != 0 && result)
      result = Error{std::string(domain::error::kFunctionFailed),
                     cannot(fmt::format("move process {} by", pid), file, error),
                     {}};
  }
  return result;
}

std::vector<int> Leaf::entries() const {
  std::vector<int> list;
  for (const Folder& folder : folders_)
    if (folder.entry.valid()) list.push_back(folder.entry.get());
  return list;
}

std::string Leaf::layers_on(pid_t pid) const {
  std::string words;
  for (const Folder& folder : folders_) {
    std::ifstream inside(folder.path + "/cgroup.procs");
    const std::istream_iterator<pid_t> end;
    if (std::find(std::istream_iterator<pid_t>(inside), end, pid) == end) continue;
    for (const std::string_view controller : folder.controllers) {
      const bool held = controller == "memory" ? in_force_.memory_bytes.has_value()
                        : controller == "cpu"  ? in_force_.cpu_cores.has_value()
                                               : in_force_.pids.has_value();
      if (held) words += fmt::format("{}{}", words.empty() ? "" : ",", controller);
    }
  }
  return words;
}

std::optional<std::string> Leaf::read_memory_file(std::string_view v1, std::string_view v2) const {
  for (const Folder& folder : folders_)
    if (std::find(folder.controllers.begin(), folder.controllers.end(), "memory") !=
        folder.controllers.end())
      return read_file(fmt::format("{}/{}", folder.path, folder.version == 1 ? v1 : v2));
  return std::nullopt;
}

std::optional<std::uint64_t> Leaf::oom_kills() const {
  const std::optional<std::string> text = read_memory_file("memory.oom_control", "memory.events");
  if (!text) return std::nullopt;
  // A whole leaf killed at once counts its first victim twice as "oom_kill" (seen on Linux 6.1).
  const std::uint64_t groups = parse_stat_field(*text, "oom_group_kill");
  return groups > 0 ? groups : parse_stat_field(*text, "oom_kill");
}

bool Leaf::met_memory_limit() const {
  const std::optional<std::string> text =
      read_memory_file("memory.max_usage_in_bytes", "memory.events");
  if (!text || !in_force_.memory_bytes) return false;
  const std::optional<std::uint64_t> most = parse_memory_limit(*text);
  if (!most) return parse_stat_field(*text, "max") > 0;
  return *most + kChargeBytes >= *in_force_.memory_bytes;
}

std::optional<std::uint64_t> Leaf::peak() const {
  const std::optional<std::string> text =
      read_memory_file("memory.max_usage_in_bytes", "memory.peak");
  return text ? parse_memory_limit(*text) : std::nullopt;  // a number of the same form
}

bool Leaf::try_remove() {
  if (tree_ == nullptr) return true;
  std::erase_if(folders_, [this](const Folder& folder) {
    return remove_folder(tree_->branches.calls, folder.path);
  });
  if (folders_.empty()) fd_.reset();
  return folders_.empty();
}

bool Leaf::write(const Folder& folder, std::string_view file, std::string_view text,
                 Presence presence) {
  const std::string path = fmt::format("{}/{}", folder.path, file);
  const int error = tree_->branches.calls.write_text(path, text);
  if (error == 0 || (error == ENOENT && presence == Presence::Optional)) return true;
  refused_.push_back(fmt::format("{}: {}", file.substr(0, file.find('.')),
                                 cannot(fmt::format("write {} to", text), path, error)));
  return false;
}

// The limit first: of version 1, memory with swap may not be less than memory.
bool Leaf::limit_memory(const Folder& folder, std::uint64_t bytes) {
  const std::string text = std::to_string(bytes);
  if (folder.version == 1) {
    const bool limited = write(folder, "memory.limit_in_bytes", text);
    write(folder, "memory.memsw.limit_in_bytes", text, Presence::Optional);
    write(folder, "memory.swappiness", "0", Presence::Optional);
    return limited;
  }
  const bool limited = write(folder, "memory.max", text);
  write(folder, "memory.swap.max", "0", Presence::Optional);
  write(folder, "memory.oom.group", "1", Presence::Optional);
  return limited;
}

bool Leaf::limit_cpu(const Folder& folder, double cores) {
  const double quota_us = std::max(cores * static_cast<double>(kPeriodUs), kQuotaUsMin);
  const std::string quota = std::to_string(std::llround(quota_us));
  const std::string period = std::to_string(kPeriodUs);
  if (folder.version == 1) {
    const bool timed = write(folder, "cpu.cfs_period_us", period);
    return write(folder, "cpu.cfs_quota_us", quota) && timed;
  }
  return write(folder, "cpu.max", fmt::format("{} {}", quota, period));
}

void Leaf::share_cpu(CpuShare share) const {
  const bool idle = share == CpuShare::Idle;
  for (const Folder& folder : folders_) {
    if (std::find(folder.controllers.begin(), folder.controllers.end(), "cpu") ==
        folder.controllers.end())
      continue;
    const auto& calls = tree_->branches.calls;
    if (calls.write_text(folder.path + "/cpu.idle", idle ? "1" : "0") != ENOENT) continue;
    if (folder.version == 1)
      calls.write_text(folder.path + "/cpu.shares", idle ? "2" : "1024");
    else
      calls.write_text(folder.path + "/cpu.weight", idle ? "1" : "100");
  }
}

void Leaf::limit(const Folder& folder, const LeafLimits& limits) {
  for (const std::string_view controller : folder.controllers) {
    if (controller == "memory" && limits.memory_bytes && limit_memory(folder, *limits.memory_bytes))
      in_force_.memory_bytes = limits.memory_bytes;
    if (controller == "cpu" && limits.cpu_cores && limit_cpu(folder, *limits.cpu_cores))
      in_force_.cpu_cores = limits.cpu_cores;
    if (controller == "pids" && limits.pids &&
        write(folder, "pids.max", std::to_string(*limits.pids)))
      in_force_.pids = limits.pids;
  }
}

CgroupTree::CgroupTree(std::unique_ptr<CgroupTreeState> state) : state_(std::move(state)) {}

CgroupTree::CgroupTree(CgroupTree&&) noexcept = default;

CgroupTree::~CgroupTree() {
  if (!state_) return;
  GLOWPLUG_ASSERT(state_->leaves == 0);
  remove_left();
  close_branches(state_->branches);
}

CgroupTree CgroupTree::open(const CgroupOptions& options) {
  auto state = std::make_unique<CgroupTreeState>();
  state->branches.root = options.root;
  state->branches.name = branch_name(options.tag);
  state->branches.calls = options.calls;
  open_branches(state->branches);
  return CgroupTree(std::move(state));
}

Result<Leaf> CgroupTree::make_leaf(std::string_view name, const LeafLimits& limits) {
  GLOWPLUG_ASSERT(!name.empty() && name[0] != '.');
  GLOWPLUG_ASSERT(name.find('/') == std::string_view::npos);
  GLOWPLUG_ASSERT(name != kServerLeaf);
  remove_left();
  CgroupBranches& all = state_->branches;
  Leaf leaf(*state_);
  for (const CgroupBranch& branch : all.list) {
    const std::string path = fmt::format("{}/{}", branch.folder, name);
    int error = all.calls.make_folder(path);
    // An older leaf's counters must not be taken for the new one's.
    if (error == EEXIST && remove_folder(all.calls, path)) error = all.calls.make_folder(path);
    if (error == EEXIST)
      return Error{std::string(domain::error::kFunctionFailed),
                   fmt::format("processes of an earlier replica are still in {}", path),
                   {}};
    if (error != 0) {
      for (const std::string_view controller : branch.controllers)
        leaf.refused_.push_back(fmt::format("{}: {}", controller, cannot("make", path, error)));
      continue;
    }
    std::erase(all.left, path);  // or it would be removed as what it was
    const std::string entry = path + (branch.version == 1 ? "/tasks" : "/cgroup.procs");
    leaf.folders_.push_back({.path = path,
                             .controllers = branch.controllers,
                             .version = branch.version,
                             .entry = UniqueFd(::open(entry.c_str(), O_WRONLY | O_CLOEXEC))});
    leaf.limit(leaf.folders_.back(), limits);
  }
  if (leaf.folders_.size() == 1 && leaf.folders_[0].version == 2)
    leaf.fd_.reset(::open(leaf.folders_[0].path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return leaf;
}

std::size_t CgroupTree::remove_left() {
  CgroupBranches& all = state_->branches;
  std::erase_if(all.left,
                [&all](const std::string& path) { return remove_folder(all.calls, path); });
  return all.left.size();
}

const std::vector<std::string>& CgroupTree::refused() const { return state_->branches.refused; }

const std::string& CgroupTree::server_folder() const { return state_->branches.server_folder; }

int CgroupTree::leftovers_removed() const { return state_->branches.leftovers_removed; }

std::vector<std::string> CgroupTree::folders() const {
  std::vector<std::string> paths;
  for (const CgroupBranch& branch : state_->branches.list) paths.push_back(branch.folder);
  return paths;
}

std::string CgroupTree::layers() const {
  std::string text;
  for (const int version : {1, 2}) {
    std::string names;
    for (const CgroupBranch& branch : state_->branches.list)
      for (const std::string_view controller : branch.controllers)
        if (branch.version == version)
          names += fmt::format("{}{}", names.empty() ? "" : ",", controller);
    if (!names.empty()) text += fmt::format("{}{} (v{})", text.empty() ? "" : ", ", names, version);
  }
  return text.empty() ? "none" : text;
}

}  // namespace glowplug::runtime
