// One order of the server on a worker's control channel: a JSON object in one message, and the
// descriptors that travel with it. Every order brings at least one, because descriptors keep
// messages of a byte stream apart.
//
// Thread: any; one reader at a time.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include <boost/json/object.hpp>

#include "base/unique_fd.h"

namespace glowplug::worker {

inline constexpr std::size_t kOrderBytesMax = 4096;
inline constexpr std::size_t kOrderDescriptorsMax = 65;  // domain::kSlotsMax states and one more

struct Order {
  boost::json::object fields;
  std::vector<UniqueFd> descriptors;
};

enum class Receipt { Taken, Unreadable, Closed };

// Waits for the next order. Unreadable: a message that is none; its descriptors are closed, which
// tells the server. Closed: the server is gone.
[[nodiscard]] Receipt receive_order(int socket, Order& order);

}  // namespace glowplug::worker
