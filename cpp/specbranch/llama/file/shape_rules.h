/// Settings of a file that do not fit its tensors, on which llama.cpp ends the process.
#pragma once

#include <string>

#include "specbranch/llama/file/gguf_reader.h"

namespace specbranch::llama {

/// Refuses a file whose settings contradict its own tensors, or each other: the alignment of the
/// data, the number of attention heads and their width, rotary dimensions. llama.cpp believes the
/// settings, and asserts in the first graph. Rules are about what tensors say, not about
/// architectures; what they cannot know, a trial in another process must find out.
///
/// Throws ModelLoadError that names the key, its value and the tensor.
void check_shapes(const GgufReader& gguf, const std::string& arch);

/// Refuses tensors whose types ggml's operations do not take: norms and biases that are no F32, and
/// matrices of integers or doubles.
void check_tensor_types(const GgufReader& gguf);

}  // namespace specbranch::llama
