/// Which devices of ggml are GPUs, and which belong to the CPU.
#pragma once

#include "ggml-backend.h"

namespace specbranch::llama {

/// Also one that shares main memory with the CPU, and one of another host.
bool is_gpu(ggml_backend_dev_t device);

/// The CPU, or an accelerator of it, which llama.cpp uses without being told: it computes in main
/// memory.
bool is_of_cpu(ggml_backend_dev_t device);

/// There is a GPU. llama_supports_gpu_offload() is true of every build with the RPC
/// backend.
bool has_gpu();

}  // namespace specbranch::llama
