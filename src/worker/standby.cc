#include "worker/standby.h"

#include <array>
#include <cstdlib>
#include <poll.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <sys/stat.h>

#include "worker/order.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;

std::optional<std::vector<std::string>> texts_of(const json::object& fields, const char* name) {
  const json::value* list = fields.if_contains(name);
  if (list == nullptr || !list->is_array()) return std::nullopt;
  std::vector<std::string> texts;
  for (const json::value& one : list->get_array()) {
    if (!one.is_string()) return std::nullopt;
    texts.emplace_back(one.get_string());
  }
  return texts;
}

std::optional<json::object> read_object(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return std::nullopt;
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  if (::pread(fd, text.data(), text.size(), 0) != status.st_size) return std::nullopt;
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.get_object());
}

void set_environment(const std::vector<std::string>& entries) {
  ::clearenv();
  for (const std::string& entry : entries) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    ::setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
  }
}

}  // namespace

std::optional<std::vector<std::string>> await_start(int control_fd, int lifeline_fd) {
  std::array<pollfd, 2> watched{pollfd{control_fd, POLLIN, 0}, {lifeline_fd, POLLIN, 0}};
  while (watched[0].revents == 0 && watched[1].revents == 0)
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;
  if (watched[1].revents != 0) return std::nullopt;
  Order order;
  if (receive_order(control_fd, order) != Receipt::Taken || !order.fields.contains("start") ||
      order.descriptors.empty())
    return std::nullopt;
  const auto start = read_object(order.descriptors.front().get());
  if (!start) return std::nullopt;
  auto arguments = texts_of(*start, "argv");
  const auto environment = texts_of(*start, "env");
  if (!arguments || !environment) return std::nullopt;
  for (std::size_t i = 1; i < order.descriptors.size(); ++i)
    if (::pwrite(order.descriptors[i].get(), "0", 1, 0) != 1)
      continue;  // the server sees who is inside
  set_environment(*environment);
  return arguments;
}

}  // namespace glowplug::worker
