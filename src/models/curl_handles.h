// What libcurl makes, each with its owner; and the guard at a transfer's socket. Private to
// models/: named by the .cc files that transfer.
//
// Which address is connected to is decided where the socket is opened, after the name was resolved:
// what was checked is what is connected to, whatever the name leads to a moment later.
//
// Thread: values with one owner each.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include <curl/curl.h>

namespace glowplug::models {

struct CurlEnd {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct CurlMultiEnd {  // CURL and CURLM are both void
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
using CurlHandle = std::unique_ptr<CURL, CurlEnd>;
using CurlMulti = std::unique_ptr<CURLM, CurlMultiEnd>;
using CurlUrl = std::unique_ptr<CURLU, CurlEnd>;
using CurlList = std::unique_ptr<curl_slist, CurlEnd>;

void start_curl();  // once for the process; any number of calls

std::string url_part(const CurlUrl& url, CURLUPart part, unsigned int flags = 0);
void append_line(CurlList& list, const std::string& line);

struct SocketGuard {
  // Of an address in network order: why it may not be connected to, empty where it may.
  std::function<std::string(std::span<const std::uint8_t>)> refuses;
  bool may_connect = false;  // one of the name's addresses at least is allowed
  std::string forbidden;     // the last address that is not, and what it is
};

// Has libcurl connect to what the guard allows and to nothing else; without a socket it tries the
// name's next address.
void guard_sockets(CURL* handle, SocketGuard& guard);

}  // namespace glowplug::models
