// Whether a request's Host header can be meant for a server that listens on loopback only. A page
// of another site can point its own name at 127.0.0.1 and then asks this server as if it were that
// site, past the browser's same-origin rule (DNS rebinding); but its name stands in Host.
//
// Thread: pure.
#pragma once

#include <string_view>

namespace glowplug::gateway {

// True for localhost, names below it, addresses, each with or without a port, and for no Host at
// all, which no browser sends.
[[nodiscard]] bool is_local_host(std::string_view host);

}  // namespace glowplug::gateway
