#ifdef __linux__

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <thread>

#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {

static_assert(kMaxCpus == CPU_SETSIZE);

std::vector<Core> allowed_cores() {
  std::vector<int> cpus;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(static_cast<std::size_t>(cpu), &mask)) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) {
    const int n = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    for (int cpu = 0; cpu < n; ++cpu) cpus.push_back(cpu);
  }
  return read_cores(cpus);
}

Pinning pin_thread(std::span<const int> cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &mask);
  const bool done = pthread_setaffinity_np(pthread_self(), sizeof mask, &mask) == 0;
  return done ? Pinning::kDone : Pinning::kRefused;
}

std::optional<std::uint64_t> free_memory() { return std::nullopt; }

}  // namespace specbranch::llama

#endif
