// Makes a forced tool call binding on the engine.
//
// The engine reads a named choice as "auto", and its grammar for a required call lets prose come
// first without end, which a small model fills to its limit. So a request that forces a call is
// rewritten before the engine sees it: only the tools that may be called stay, the choice becomes
// "required", and the answer is begun with the text that opens a call in this model's chat
// template. The engine's grammar then holds from the first token on. It allows any number of calls,
// whatever parallel_tool_calls says; where only one may come, the text that closes it is a stop.
//
// Thread: pure functions. Checks nothing: the gateway has refused a choice that names no tool.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace glowplug::worker {

enum class Dialect { kChat, kResponses, kMessages };

// The body for the engine; nothing where the request restricts no call and can go on as it is.
// `opening` is empty for a template whose calls begin with no fixed text; then the grammar alone
// binds.
[[nodiscard]] std::optional<std::string> force_tool_call(Dialect dialect, std::string_view body,
                                                         std::string_view opening);

}  // namespace glowplug::worker
