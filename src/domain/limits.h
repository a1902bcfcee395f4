// Every bound that protects the server, with its unit. A manifest may lower the ones it names,
// never raise them. Thread: constants.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/time_types.h"

namespace glowplug::domain {

using namespace std::chrono_literals;

inline constexpr std::size_t kHeaderBytesMax =
    64 * 1024;  // OpenAI's stated budget for request headers
inline constexpr std::size_t kBodyBytesMax = 8 * 1024 * 1024;  // an inference or function request
inline constexpr std::size_t kJsonDepthMax = 64;
inline constexpr std::size_t kStreamBufferBytesMax =
    256 * 1024;  // per stream, between replica and client
inline constexpr std::size_t kReplicaReplyBytesMax = 64 * 1024 * 1024;
inline constexpr std::size_t kProbeReplyBytesMax =
    64 * 1024;  // of what the server itself asks a replica
inline constexpr std::size_t kConnectionsMax = 10'000;
inline constexpr int kFetchesMax = 16;  // models fetched at once; each has a thread that waits
inline constexpr std::size_t kCacheSaltBytesMax = 256;
inline constexpr std::size_t kWatchersMax =
    256;  // event streams; each is looked at after each turn
inline constexpr std::size_t kFunctionsMax = 10'000;
inline constexpr std::size_t kMemoryKindsMax = 10'000;  // of processes whose memory is remembered
inline constexpr std::size_t kLogLinesKept = 500;       // per function
inline constexpr std::size_t kDecisionsKept = 1'000;
inline constexpr std::size_t kCallsKept =
    4'096;  // inference calls whose course is told; under 2 KiB each
inline constexpr std::size_t kBrokenJobsKept = 1'024;  // whose replica broke, until they run again
inline constexpr std::size_t kClientRequestIdBytesMax = 512;  // as OpenAI bounds it
inline constexpr std::size_t kKeptTokensMin = 256;   // a shorter prompt is soon computed again
inline constexpr std::size_t kLearnedPrimesMax = 4;  // cache domains of one revision that have one
inline constexpr std::size_t kPromptBytesPerToken =
    16;  // a longer prompt cannot fit, so it is never tokenised
inline constexpr int kContextMax = 1 << 20;
inline constexpr int kContextMin = 16;  // a chat template's own words must fit
inline constexpr int kSlotsMax = 64;
inline constexpr int kCoresMax = 1024;
inline constexpr int kAutoscalerSpeedMax = 100;  // so that its clock does not end within two years
inline constexpr int kReplicasMax = 20;
inline constexpr int kStandbyMax = 8;        // workers started ahead
inline constexpr int kSparesMax = 8;         // of one template
inline constexpr int kStepTokensMax = 4096;  // of the engine, as a manifest may set it
inline constexpr int kPromptTokensMin =
    4;                                     // that a step has room for beside one token of each slot
inline constexpr int kTuneTrialsMax = 32;  // settings that one tune tries
inline constexpr int kCheckpointsMax = 1'000;  // of one function
inline constexpr int kCheckpointStepMax = 1'000'000'000;
inline constexpr int kServingsKept = 100;  // of one function: how far back its rollbacks reach

inline constexpr std::size_t kJobsQueuedMax = 2'000'000;  // of all functions; about 100 bytes each

// Of the price table and what is estimated from it.
inline constexpr std::size_t kDeviceNameBytesMax = 32;
inline constexpr std::size_t kPricesMax = 64;
inline constexpr int kPriceMax = 1'000'000;    // an hour or a request, in units
inline constexpr int kBudgetMax = 10'000'000;  // an hour or a day, of one function or of all
inline constexpr std::int64_t kRequestsPerDayMax = 1'000'000'000'000;
inline constexpr Duration kMeanRequestMax = std::chrono::hours(24);
inline constexpr int kDeviceCountMax = 1'000;  // of one function

// Prompt states, as files. 16 GiB is a quarter of what AES-GCM may encrypt in one message.
inline constexpr Duration kPromptStateTtl = std::chrono::hours(7 * 24);      // since its last use
inline constexpr std::uint64_t kPromptMemoryMax = std::uint64_t{256} << 20;  // of them, in memory
inline constexpr std::uint64_t kPromptMemoryShare = 50;  // or one part of the machine's in so many
inline constexpr std::size_t kPromptStatesMax = 16'384;
inline constexpr std::size_t kPromptStatesPerOwnerMax = 256;
inline constexpr std::size_t kPromptStatesPendingMax = 8;  // being written; each is held in memory
inline constexpr std::size_t kPromptStateBytesMax = std::size_t{16} << 30;
inline constexpr std::size_t kPromptOwnerBytesMax = 256;     // of a tenant's or a domain's name
inline constexpr std::size_t kPromptFitBytesMax = 4 * 1024;  // of each text that says what must fit

// Files and batches, as OpenAI bounds them.
inline constexpr std::uint64_t kFileBytesMax = std::uint64_t{512} << 20;
inline constexpr std::uint64_t kBatchFileBytesMax = std::uint64_t{200} << 20;
inline constexpr std::size_t kFilesMax = 10'000;
inline constexpr std::uint64_t kFilesBudget = std::uint64_t{16} << 30;  // bytes of all together
inline constexpr std::size_t kFileNameBytesMax = 255;
inline constexpr Duration kFileExpiryMin = std::chrono::hours(1);
inline constexpr Duration kFileExpiryMax = std::chrono::hours(30 * 24);
inline constexpr std::size_t kUploadBytesPerTimeoutMin =
    64 * 1024;  // of an upload, within each kBodyTimeout that is spent waiting for it
inline constexpr std::size_t kBatchLinesMax = 50'000;
inline constexpr std::size_t kBatchLineBytesMax = kBodyBytesMax + 4 * 1024;
inline constexpr std::size_t kBatchEmbeddingInputsMax = 50'000;
inline constexpr std::size_t kBatchFaultsListed = 100;
inline constexpr std::size_t kBatchLinesQueued = 2'000;  // of one batch, as jobs not yet over
inline constexpr std::size_t kBatchesMax = 1'000;        // kept; the oldest that are over go first
inline constexpr std::size_t kCustomIdBytesMax = 512;
inline constexpr std::size_t kMetadataMax = 16;
inline constexpr std::size_t kMetadataKeyBytesMax = 64;
inline constexpr std::size_t kMetadataValueBytesMax = 512;
inline constexpr Duration kBatchWindow = std::chrono::hours(24);

inline constexpr Duration kHeaderTimeout = 10s;
inline constexpr Duration kBodyTimeout = 30s;
inline constexpr Duration kIdleConnectionTimeout = 75s;
inline constexpr Duration kWriteStallTimeout = 30s;
inline constexpr Duration kEventPing = 15s;             // longest silence of an event stream
inline constexpr Duration kJobWaitMax = 600s;           // a client's wait for the end of a job
inline constexpr Duration kEventProgressEvery = 100ms;  // between two progress events of a stream
inline constexpr Duration kQueueTimeoutMax = 600s;
inline constexpr Duration kReplicaPulse = 5s;   // of a job's, while nothing comes of its answer
inline constexpr int kReplicaPulsesMissed = 3;  // in a row: the replica counts as broken
inline constexpr Duration kLoadStallTimeout =
    120s;  // no progress while loading for this long: killed
inline constexpr Duration kForkLimit =
    5s;  // a fork takes milliseconds; a template that needs longer hangs
inline constexpr Duration kSleepPollEvery =
    25ms;  // between asking an engine twice whether it sleeps
inline constexpr Duration kTurn =
    2s;  // of one function or cache domain, while another waits for its place
inline constexpr Duration kTrialTimeout = 300s;  // one choice of settings, loaded and measured
inline constexpr Duration kStopGrace = 10s;      // SIGTERM to SIGKILL
inline constexpr Duration kDrainTimeout = 30s;   // of the whole server
inline constexpr Duration kFailureRemembered =
    5s;  // a failed load is answered at once for this long; one after the other longer

}  // namespace glowplug::domain
