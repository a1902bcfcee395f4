// The links of a request's prompt, by which a conversation finds the replica that holds it.
//
// Thread: a pure function but for the key of its hashes, which is drawn once in a process: a hash
// tells nobody what was asked.
#pragma once

#include <boost/json.hpp>

#include "domain/prompt_links.h"

namespace glowplug::gateway {

// Of what comes first in every surface's template (tools, system, instructions), then of each
// message, or of each whole kilobyte of a text; of 128 KiB at most. Nothing of a request that has
// no prompt.
domain::PromptLinks prompt_links(const boost::json::object& request);

}  // namespace glowplug::gateway
