/// The number of this process: a forked child, which has none of the threads, has another one.
#pragma once

#ifdef _WIN32
#include <process.h>
#else
#include <unistd.h>
#endif

namespace specbranch {

/// Windows has no forks.
inline long process_id() {
#ifdef _WIN32
  return _getpid();
#else
  return getpid();
#endif
}

}  // namespace specbranch
