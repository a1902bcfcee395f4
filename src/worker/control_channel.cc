#include "worker/control_channel.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <boost/json.hpp>
#include <sys/socket.h>

namespace glowplug::worker {

namespace json = boost::json;

std::string loading_line(int percent) {
  // The number is written by hand because a double of 0.07 has no short spelling of its own in
  // every library.
  char line[64];
  const int bounded = std::clamp(percent, 0, 100);
  std::snprintf(line, sizeof line, "{\"state\":\"loading\",\"progress\":%d.%02d}\n", bounded / 100,
                bounded % 100);
  return line;
}

std::string ready_line(const ReadyFacts& facts) {
  return json::serialize(json::object{{"state", "ready"},
                                      {"load_ms", facts.load_ms},
                                      {"chat_template", facts.chat_template},
                                      {"tools", facts.tools},
                                      {"pooling", facts.pooling},
                                      {"context", facts.context},
                                      {"sandbox", facts.sandbox},
                                      {"bytes_read", facts.bytes_read}}) +
         "\n";
}

std::string failed_line(std::string_view cause) {
  return json::serialize(json::object{{"state", "failed"}, {"cause", cause}}) + "\n";
}

std::string forked_line(pid_t pid) {
  return json::serialize(json::object{{"state", "forked"}, {"pid", pid}}) + "\n";
}

void ControlChannel::loading(double progress) {
  const int percent = static_cast<int>(std::clamp(progress, 0.0, 1.0) * 100 + 1e-4);
  const std::lock_guard lock(mutex_);
  if (percent <= last_percent_) return;
  last_percent_ = percent;
  write(loading_line(percent));
}

void ControlChannel::ready(const ReadyFacts& facts) {
  const std::lock_guard lock(mutex_);
  write(ready_line(facts));
}

void ControlChannel::failed(std::string_view cause) {
  const std::lock_guard lock(mutex_);
  write(failed_line(cause));
}

void ControlChannel::write(std::string_view line) {
  while (!line.empty()) {
    const ssize_t sent = ::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;
    line.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace glowplug::worker
