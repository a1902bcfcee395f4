// What `doctor` looks at on this machine: kernel, cores, memory, folders, worker program, ports.
// Each check says what it found and, where that is not enough, what to do about it. Nothing is
// changed.
//
// Thread: reads the machine once per call; no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <boost/json/value.hpp>

namespace glowplug::cli {

enum class Level { Ok, Warn, Fail };

struct Check {
  std::string name;
  Level level = Level::Ok;
  std::string found;
  std::string fix;  // empty when ok
};

std::vector<Check> check_kernel();
Check check_cores();
Check check_memory();

struct Folder {
  std::string name;  // "data folder"
  std::string path;
  std::uint64_t room_bytes_min = 0;  // below this the check warns
};
Check check_folder(const Folder& folder);

Check check_worker(const std::string& path);  // empty = beside this program

struct Listener {
  std::string name;     // "port"
  std::string address;  // HOST:PORT
};
Check check_port(const Listener& listener);

std::string format_check(const Check& check);  // one line, or two with a fix
boost::json::object to_json(const Check& check);

}  // namespace glowplug::cli
