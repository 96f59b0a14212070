/// The clock of the core's threads. Private to the core; the decoder never reads it.
#pragma once

#include <chrono>
#include <cstdint>

namespace specbranch {

/// Microseconds of the steady clock, comparable between threads.
inline std::int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace specbranch
