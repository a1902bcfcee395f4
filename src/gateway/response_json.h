// A response in the background as OpenAI's clients see it: the job that it is, under another name.
// "resp_…" and "job_…" with the same digits are one.
//
// Thread: pure functions. Private to gateway/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "domain/job.h"
#include "storage/job_store.h"

namespace glowplug::gateway {

std::string response_id(domain::JobId job);
std::optional<domain::JobId> parse_response_id(std::string_view text);

// Once its job has an answer: that, with the response's own id and moment of acceptance. Before,
// and where there is none: what the request says. `request` is the body that it was accepted with.
boost::json::object response_object(const storage::JobView& view,
                                    const boost::json::object& request);
// The same, as it was when it was in this state, which is not over.
boost::json::object response_then(const storage::JobView& view, const boost::json::object& request,
                                  domain::JobState state);

// What its request's `input` says, as a list of items that each have an id; the first first.
boost::json::array input_items(domain::JobId job, const boost::json::object& request);

struct ResponseEvent {
  std::int64_t sequence = 0;
  std::string text;  // as it goes over the wire
};
// The events of a response until now, always the same ones with the same numbers: 0 created,
// 1 queued, 2 in progress (none where it never ran), and from 3 those of its answer, made of the
// whole answer: a text comes in one piece.
std::vector<ResponseEvent> response_events(const storage::JobView& view,
                                           const boost::json::object& request);

}  // namespace glowplug::gateway
