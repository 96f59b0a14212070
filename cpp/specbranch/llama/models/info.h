/// What `specbranch check` reports.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "specbranch/llama/file/model_file.h"
#include "specbranch/llama/file/model_options.h"
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
  bool is_cpu = false;
  std::uint64_t memory_free = 0;
  std::uint64_t memory_total = 0;
};

std::vector<DeviceInfo> list_devices();

/// Memory of one model, in bytes. An estimate: buffers for the forward pass are guessed.
struct MemoryEstimate {
  std::uint64_t weights = 0;
  std::uint64_t cache = 0;    ///< 0: not known for this architecture.
  std::uint64_t buffers = 0;  ///< logits of `n_outputs` tokens, activations of n_ubatch.
  std::uint64_t total() const noexcept { return weights + cache + buffers; }
};

/// `n_cells`: n_ctx and, for a draft, the reserve for its branches.
MemoryEstimate estimate_memory(const ModelFile& file, const ModelOptions& options, int n_cells,
                               int n_outputs);

}  // namespace specbranch::llama
