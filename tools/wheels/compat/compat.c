/* What this machine's libstdc++.a asks of a C library newer than that of the wheels. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#define HIDDEN __attribute__((visibility("hidden")))

/* glibc 2.32. False is always right: it only makes reference counts atomic. */
HIDDEN char __libc_single_threaded = 0;

/* glibc 2.36, for std::random_device. */
HIDDEN uint32_t arc4random(void) {
  uint32_t value;
  if (getentropy(&value, sizeof value) != 0) abort();
  return value;
}
