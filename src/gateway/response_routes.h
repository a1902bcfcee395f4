// POST /v1/responses with `background`: a job whose answer says so in a response's words.
// Thread: the server loop. Private to gateway/.
#pragma once

#include <string>

#include "gateway/job_answers.h"

namespace glowplug::gateway {

enum class ResponseForm { Object, Events };

// Answers the request: once it is on the disk, and not before, with the response, or with its
// events until it is over.
Coroutine<> answer_in_background(Exchange& exchange, const std::string& function,
                                 const CallHeaders& headers, ResponseForm form);

}  // namespace glowplug::gateway
