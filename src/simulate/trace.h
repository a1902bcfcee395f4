// Traces as sources of calls, read as they are used: a file of any size takes a buffer. What a file
// is, its head says:
//
//   time_s,function,prompt_tokens,output_tokens[,tenant]     ours; time from any beginning
//   TIMESTAMP,ContextTokens,GeneratedTokens                  Azure LLM inference 2023
//   app,func,end_timestamp,duration                          Azure Functions 2021, in seconds
//   HashOwner,HashApp,HashFunction,Trigger,1,2,…             Azure Functions 2019: calls a minute
//   client,ts_s,rate_rps,cv,pattern,p1,p2                    ServeGen: rates of clients in windows
//   {"timestamp": …, "input_length": …, "output_length": …}  Mooncake, one object a line
//
// Functions without tokens get lengths from `prompt` and `output`; a duration becomes so many
// tokens as are answered in it. Rates and counts become calls from the seed: a minute's calls are
// spread over it, a window's intervals follow its law and are stretched to fill it.
//
// Each file may be compressed with gzip. An error names file, line and field.
//
// Thread: one owner.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "simulate/generator.h"
#include "simulate/request.h"

namespace glowplug::simulate {

struct TraceOptions {
  std::uint64_t seed = 1;
  std::string function = "trace";  // of a trace that names none
  TokenLengths prompt = {.median = 200, .sigma = 1.0, .most = 1500};
  TokenLengths output = {.median = 60, .sigma = 0.9, .most = 500};
  double tokens_per_s = 95;  // what a second of a recorded duration answers
  // How far a row may stand behind one that came later; none = what the kind of trace needs.
  std::optional<Duration> sort;
  Duration length = kTraceMax;     // nothing after this is read
  double keep = 1;                 // of the calls, drawn from the seed
  std::uint64_t requests_max = 0;  // 0 = all
};

Result<std::unique_ptr<RequestSource>> open_trace(const std::string& path,
                                                  const TraceOptions& options);

}  // namespace glowplug::simulate
