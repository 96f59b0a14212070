/// What `specbranch check` reports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "specbranch/llama/runtime/abi.h"

namespace specbranch::llama {

/// The library that is loaded, not the one that was compiled against.
struct LibraryInfo {
  LlamaVersions versions;
  std::string system;  ///< llama_print_system_info(): the instruction sets in use.
};

LibraryInfo library_info();

/// A device that layers may be put on.
struct DeviceInfo {
  std::string name;  ///< as in ModelOptions::devices.
  std::string description;
  bool is_gpu = false;         ///< otherwise the CPU, or a library that helps it.
  bool is_integrated = false;  ///< a GPU without memory of its own: it uses main memory.
  std::uint64_t memory_free = 0;
  std::uint64_t memory_total = 0;
};

std::vector<DeviceInfo> list_devices();

}  // namespace specbranch::llama
