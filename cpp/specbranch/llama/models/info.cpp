#include "specbranch/llama/models/info.h"

#include <algorithm>

#include "llama.h"
#include "specbranch/llama/runtime/backend.h"

namespace specbranch::llama {

LibraryInfo library_info() {
  init_backend();
  return {loaded_llama(), llama_print_system_info()};
}

std::vector<DeviceInfo> list_devices() {
  init_backend();
  std::vector<DeviceInfo> devices;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    DeviceInfo info;
    info.name = ggml_backend_dev_name(device);
    info.description = ggml_backend_dev_description(device);
    info.is_cpu = ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
    std::size_t free = 0;
    std::size_t total = 0;
    ggml_backend_dev_memory(device, &free, &total);
    info.memory_free = free;
    info.memory_total = total;
    devices.push_back(std::move(info));
  }
  return devices;
}

MemoryEstimate estimate_memory(const ModelFile& file, const ModelOptions& options, int n_cells,
                               int n_outputs) {
  MemoryEstimate estimate;
  estimate.weights = file.weight_bytes;
  estimate.cache = file.cell_bytes(options.type_k, options.type_v) *
                   static_cast<std::uint64_t>(std::max(0, n_cells));
  // Two copies of the logits (graph and output), and about 16 activations alive at once.
  const auto n_vocab = static_cast<std::uint64_t>(file.n_vocab);
  const auto n_embd = static_cast<std::uint64_t>(file.n_embd);
  const auto n_ubatch = static_cast<std::uint64_t>(std::min(options.n_ubatch, options.n_batch));
  estimate.buffers =
      4 * (2 * n_vocab * static_cast<std::uint64_t>(n_outputs) + 16 * n_embd * n_ubatch);
  return estimate;
}

}  // namespace specbranch::llama
