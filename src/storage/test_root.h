// A new folder for a test that has a store: in memory where the machine has room there. A store
// syncs every change, and on a disk that others write to a sync takes as long as their writing.
// Thread: any. The caller removes it.
#pragma once

#include <cstdlib>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

namespace glowplug::storage {

inline std::string make_test_root() {
  const std::string in_memory = "/dev/shm";
  std::string path =
      (::access(in_memory.c_str(), W_OK) == 0 ? in_memory : "/tmp") + "/gp-store-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) ADD_FAILURE() << "cannot make " << path;
  return path;
}

}  // namespace glowplug::storage
