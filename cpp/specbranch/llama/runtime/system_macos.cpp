// Compiled, never run: see "Other systems" in docs/guide/install.md.
#ifdef __APPLE__

#include <mach/mach.h>
#include <sys/sysctl.h>

#include <algorithm>
#include <thread>

#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

/// A number that the kernel tells; 0: it does not.
int kernel_number(const char* name) {
  int value = 0;
  std::size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}

}  // namespace

/// macOS has no affinity masks, and no numbers of CPUs that a program could use.
std::vector<Core> allowed_cores() {
  int n_cores = kernel_number("hw.physicalcpu");
  if (n_cores < 1) n_cores = static_cast<int>(std::thread::hardware_concurrency());
  const int n_fast = kernel_number("hw.perflevel0.physicalcpu");
  std::vector<Core> cores;
  for (int i = 0; i < std::max(1, n_cores); ++i) cores.push_back({{i}, n_fast == 0 || i < n_fast});
  return cores;
}

Pinning pin_thread(std::span<const int> /*cpus*/) { return Pinning::kImpossible; }

std::optional<std::uint64_t> free_memory() {
  vm_statistics64_data_t found{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const mach_port_t host = mach_host_self();
  const kern_return_t result =
      host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&found), &count);
  mach_port_deallocate(mach_task_self(), host);
  if (result != KERN_SUCCESS) return std::nullopt;
  // Inactive pages are reclaimed before anything is swapped.
  const std::uint64_t pages = std::uint64_t{found.free_count} + found.inactive_count;
  return pages * static_cast<std::uint64_t>(vm_kernel_page_size);
}

}  // namespace specbranch::llama

#endif
