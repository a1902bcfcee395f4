// The list of system calls that a running replica may make, as a program for seccomp.
//
// What is not named fails with EPERM, so a library that tries something goes on without it; calls
// younger than clone3 fail with ENOSYS, which makes the C library try the older one. A few end the
// process by SIGSYS: no library makes them to find out whether it may, so they are code that came
// with a prompt or a model, and a process that runs such code must not answer another caller.
//
// Thread: pure; the program is data until sandbox.cc gives it to the kernel. For x86_64 and
// aarch64. A replica on a GPU needs calls on its devices that are not here.
#pragma once

#include <vector>

#include <linux/filter.h>
#include <sys/types.h>

namespace glowplug::worker {

// Whether something else keeps paths in their place: seccomp sees a path's address, not its text.
enum class Paths { kConfined, kOpen };

// `self` is the process that may signal itself. With open paths no file can be opened or removed.
[[nodiscard]] std::vector<sock_filter> syscall_filter(pid_t self, Paths paths);

}  // namespace glowplug::worker
