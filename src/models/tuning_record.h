// A tune's result as JSON: what the store keeps with a revision, and what callers are shown.
//
//   {"cores":2,"calls_meanwhile":0,"choice":{…},"trials":[{"settings":{…},"seconds":…},…],
//    "faster_file":{"file_type":"q4_0","source":"hf:…","times":1.7}}
//
// Thread: pure functions.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "base/result.h"
#include "domain/engine_settings.h"

namespace glowplug::models {

// {"threads":"auto","batch":128,"repack":"off","kv":"auto"}, in the words of a manifest.
boost::json::object settings_object(const domain::EngineSettings& settings);
boost::json::object trial_object(const domain::Trial& trial);
boost::json::object tune_object(const domain::TuneResult& result);

std::string write_tuning_record(const domain::TuneResult& result);
Result<domain::TuneResult> read_tuning_record(std::string_view text);

// The line that a worker in the role "measure" prints; see worker/measure.h.
Result<domain::Figures> read_measured_line(std::string_view line);

}  // namespace glowplug::models
