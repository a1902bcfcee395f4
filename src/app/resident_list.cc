#include "app/resident_list.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "models/durable_file.h"

namespace glowplug::app {
namespace {

constexpr Duration kLookInterval = std::chrono::seconds(5);
constexpr Duration kRecallLimit =
    std::chrono::minutes(10);  // then what is not resident is not wanted

// A function's name on each line.
Result<void> write_list(const std::string& path, const std::vector<std::string>& names) {
  auto file = models::DurableFile::start(path);
  if (!file) return file.error();
  const std::string text = fmt::format("{}\n", fmt::join(names, "\n"));
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  if (auto written = file->append({bytes, text.size()}); !written) return written.error();
  const auto published = file->publish(models::IfThere::Replace);
  return published ? Result<void>() : published.error();
}

}  // namespace

ResidentList::ResidentList(boost::asio::io_context& loop, LivePlatform& platform, std::string path)
    : platform_(platform), path_(std::move(path)), timer_(loop) {
  std::ifstream file(path_);
  for (std::string name; std::getline(file, name);)
    if (!name.empty()) written_.push_back(name);
  recalled_ = written_;
  recall_ends_ = std::chrono::steady_clock::now() + kRecallLimit;
  platform_.tell(control::TemplatesRecalled{written_});
  look_again();
}

// One function for each template, the last used first.
std::vector<std::string> ResidentList::resident() const {
  std::map<domain::ProcessId, std::pair<Time, std::string>> by_template;
  platform_.each_function([&by_template](const control::FunctionView& view) {
    if (view.template_view && view.template_view->state == domain::State::Ready)
      by_template.try_emplace(view.template_view->process, view.template_view->last_used,
                              view.manifest.name);
  });
  std::vector<std::pair<Time, std::string>> order;
  for (const auto& [id, one] : by_template) order.push_back(one);
  std::sort(order.rbegin(), order.rend());
  std::vector<std::string> names;
  for (const auto& [used, name] : order) names.push_back(name);
  return names;
}

// A second crash while the first one's templates are loaded again loses none of them.
std::vector<std::string> ResidentList::to_write() {
  std::vector<std::string> names = resident();
  if (std::chrono::steady_clock::now() >= recall_ends_) recalled_.clear();
  std::erase_if(recalled_, [this, &names](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end() || !platform_.function(name);
  });
  names.insert(names.end(), recalled_.begin(), recalled_.end());
  return names;
}

void ResidentList::look_again() {
  timer_.expires_after(kLookInterval);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    std::vector<std::string> now = to_write();
    if (platform_.admitting() && now != written_) {
      if (const auto written = write_list(path_, now); !written)
        spdlog::warn("the list of resident templates is not kept: {}", written.error().message);
      written_ = std::move(now);
    }
    look_again();
  });
}

}  // namespace glowplug::app
