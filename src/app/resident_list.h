// Which templates are resident, kept beside the functions so that after a crash they come back in
// the background, the last used first.
//
// Looks every 5 s and writes when something changed: a crash loses that much. A drain changes
// nothing, and a name that is being recalled stays for kRecallLimit. What cannot be read or written
// is logged and costs a slower first call.
//
// Thread: the server loop; `platform` outlives it.
#pragma once

#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "app/live_platform.h"

namespace glowplug::app {

class ResidentList final {
 public:
  // Recalls what the file names; the functions are deployed already.
  ResidentList(boost::asio::io_context& loop, LivePlatform& platform, std::string path);

 private:
  void look_again();
  std::vector<std::string> resident() const;
  std::vector<std::string> to_write();

  LivePlatform& platform_;
  const std::string path_;
  std::vector<std::string> written_;
  std::vector<std::string> recalled_;  // and not resident yet
  Time recall_ends_;
  boost::asio::steady_timer timer_;
};

}  // namespace glowplug::app
