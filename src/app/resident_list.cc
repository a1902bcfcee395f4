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
  platform_.tell(control::TemplatesRecalled{written_});
  look_again();
}

// One function for each template, the last used first.
std::vector<std::string> ResidentList::resident() const {
  std::map<domain::ProcessId, std::pair<Time, std::string>> by_template;
  for (const control::FunctionView& view : platform_.functions())
    if (view.template_view && view.template_view->state == domain::State::Ready)
      by_template.try_emplace(view.template_view->process, view.template_view->last_used,
                              view.manifest.name);
  std::vector<std::pair<Time, std::string>> order;
  for (const auto& [id, one] : by_template) order.push_back(one);
  std::sort(order.rbegin(), order.rend());
  std::vector<std::string> names;
  for (const auto& [used, name] : order) names.push_back(name);
  return names;
}

void ResidentList::look_again() {
  timer_.expires_after(kLookInterval);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    std::vector<std::string> now = resident();
    if (platform_.admitting() && now != written_) {
      if (const auto written = write_list(path_, now); !written)
        spdlog::warn("the list of resident templates is not kept: {}", written.error().message);
      written_ = std::move(now);
    }
    look_again();
  });
}

}  // namespace glowplug::app
