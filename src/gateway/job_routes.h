// The routes of jobs (job_routes.cc), the stream of one job's states (job_stream.cc), and those of
// responses in the background, which are jobs (response_routes.cc).
// Thread: the server loop. Private to gateway/.
#pragma once

#include "gateway/exchange.h"

namespace glowplug::gateway {

Coroutine<> run_submit(Exchange&);
Coroutine<> run_jobs(Exchange&);
Coroutine<> run_job(Exchange&);
Coroutine<> run_job_stream(Exchange&);
Coroutine<> run_cancel(Exchange&);
Coroutine<> run_retry(Exchange&);
Coroutine<> run_delete(Exchange&);
Coroutine<> run_dead_letters(Exchange&);
Coroutine<> run_redrive(Exchange&);

Coroutine<> run_response(Exchange&);
Coroutine<> run_cancel_response(Exchange&);
Coroutine<> run_delete_response(Exchange&);
Coroutine<> run_input_items(Exchange&);

}  // namespace glowplug::gateway
