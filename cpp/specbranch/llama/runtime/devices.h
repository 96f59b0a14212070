/// Which devices of ggml are GPUs.
#pragma once

#include "ggml-backend.h"

namespace specbranch::llama {

/// Also one that shares main memory with the CPU, and one of another host.
bool is_gpu(ggml_backend_dev_t device);

/// There is such a device. llama_supports_gpu_offload() is true of every build with the RPC
/// backend.
bool has_gpu();

}  // namespace specbranch::llama
