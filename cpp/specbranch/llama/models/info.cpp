#include "specbranch/llama/models/info.h"

#include "llama.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/devices.h"
#include "specbranch/llama/runtime/llama_call.h"

namespace specbranch::llama {

LibraryInfo library_info() {
  init_backend();
  return {loaded_llama(), llama_print_system_info()};
}

std::vector<DeviceInfo> list_devices() {
  init_backend();
  const LlamaCall call;  // a device of another host is asked for its memory
  std::vector<DeviceInfo> devices;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    DeviceInfo info;
    info.name = ggml_backend_dev_name(device);
    info.description = ggml_backend_dev_description(device);
    info.is_integrated = ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_IGPU;
    info.is_gpu = is_gpu(device);
    std::size_t free = 0;
    std::size_t total = 0;
    ggml_backend_dev_memory(device, &free, &total);
    info.memory_free = free;
    info.memory_total = total;
    devices.push_back(std::move(info));
  }
  return devices;
}

}  // namespace specbranch::llama
