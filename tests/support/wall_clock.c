// Moves the wall clock of the process that preloads it (wall_clock.py) by the nanoseconds that stand
// in the file WALL_CLOCK_OFFSET names, also while it runs. The monotonic clocks stay as they are.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t kSecond = 1000000000;
static int (*real_clock_gettime)(clockid_t, struct timespec*);
static const volatile int64_t* offset;

__attribute__((constructor)) static void begin(void) {
  real_clock_gettime = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  const char* path = getenv("WALL_CLOCK_OFFSET");
  const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) offset = page;
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  if (real_clock_gettime == NULL) begin();  // asked by a constructor that runs before
  const int failed = real_clock_gettime(clock, now);
  if (failed || offset == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
    return failed;
  const int64_t at = (int64_t)now->tv_sec * kSecond + now->tv_nsec + *offset;
  now->tv_sec = at / kSecond;
  now->tv_nsec = at % kSecond;
  return 0;
}

int gettimeofday(struct timeval* now, void* zone) {
  (void)zone;
  struct timespec at;
  if (clock_gettime(CLOCK_REALTIME, &at) != 0) return -1;
  now->tv_sec = at.tv_sec;
  now->tv_usec = at.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec at;
  if (clock_gettime(CLOCK_REALTIME, &at) != 0) return (time_t)-1;
  if (out != NULL) *out = at.tv_sec;
  return at.tv_sec;
}
