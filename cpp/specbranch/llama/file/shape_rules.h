/// Settings of a file that do not fit its tensors, on which llama.cpp ends the process.
#pragma once

#include "specbranch/llama/file/file_facts.h"

namespace specbranch::llama {

/// Refuses a file whose settings contradict its own tensors, or each other. llama.cpp believes the
/// settings, and asserts in the first graph, or computes for ever. Rules are about what tensors
/// say; only what no tensor says (whether all dimensions of a head are rotary) is about names of
/// architectures. What rules cannot know, a trial in another process must find out.
///
/// Throws ModelLoadError that names the key, its value and the tensor.
void check_shapes(const GgufReader& gguf, const FileFacts& facts);

/// Refuses tensors whose types ggml's operations do not take: norms, biases, rotary factors and
/// attention sinks that are no F32, and matrices of integers or doubles.
void check_tensor_types(const GgufReader& gguf);

}  // namespace specbranch::llama
