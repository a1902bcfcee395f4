// What the end of a job is told as: job.*, and of a background response response.* beside it.
//
// Runs inside the transaction of that end (JobService's on_settle), on the writer's thread.
#pragma once

#include "queue/webhook_service.h"
#include "storage/job_store.h"

namespace glowplug::app {

// To the endpoints that want it and to the job's own address. A batch tells of itself; its lines,
// which have no address, of nothing.
Result<void> emit_job_end(storage::Database& database, const storage::SettledJob& settled,
                          const queue::EmitWebhook& emit);

}  // namespace glowplug::app
