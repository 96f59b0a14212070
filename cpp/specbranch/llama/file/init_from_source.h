/// Loading a model from metadata and a function that gives the weights.
#pragma once

#include <functional>

#include "specbranch/llama/file/gguf_reader.h"
#include "specbranch/llama/file/tensor_source.h"

struct llama_model_params;

namespace specbranch::llama {

/// Told the share of the weights that is there (0 to 1); false stops the loading.
using SourceProgress = std::function<bool(float)>;

/// llama.cpp's `llama_model_init_from_user`. Null if llama.cpp refuses or `progress` stops it; then
/// ErrorCapture has the reason. Throws what `fill` throws, and ModelLoadError for metadata that
/// llama.cpp would die of, or that lack a tensor.
///
/// Only the llama architecture: llama.cpp creates every optional tensor too, and what these hold
/// where the metadata lack them is known for it alone: biases zeros, factors of rotations and of
/// products ones. The logits are the same as without; a step takes up to 14 small operations more
/// for a block. Weights are not repacked for the CPU, whatever `params` say, so that some quantized
/// types are slower than from a file. Device buffers are filled through a copy, tensor by tensor.
ModelHandle init_from_source(const GgufReader& gguf, const TensorFill& fill,
                             const SourceProgress& progress, llama_model_params params);

}  // namespace specbranch::llama
