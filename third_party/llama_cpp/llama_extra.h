#pragma once

// Functions that libllama exports (with C++ names) and no installed header declares; the
// parameters are part of their mangled names, so the linker checks them.

#include <cstddef>
#include <cstdint>
#include <map>

#include "ggml-backend.h"

struct llama_context;
struct llama_model;

/// Keep the input of layer `lid` for every token of the next batches (0: the embedding, l: the
/// output of block l-1). Only for architectures that have the tag, and lid < n_layer: otherwise the
/// process aborts, here or at the next decode. A change reserves the graph again (5 ms).
void llama_set_embeddings_layer_inp(llama_context* ctx, std::uint32_t lid, bool enabled);

/// That input: [n_tokens][n_embd], in the order of the last batch, valid until the next decode.
float* llama_get_embeddings_layer_inp(llama_context* ctx, std::uint32_t lid);

/// Bytes that a model and a context of it have in one type of buffer. Returned by value, as below:
/// the layout is that of the llama.cpp that the build checks.
struct LlamaBufferBytes {
  std::size_t weights = 0;
  std::size_t context = 0;
  std::size_t compute = 0;
};

/// The buffers of a context and of its model, without the rows of logits. If the model was loaded
/// with no_alloc: those that it would have.
std::map<ggml_backend_buffer_type_t, LlamaBufferBytes> llama_get_memory_breakdown(
    const llama_context* ctx);

/// The devices that layers of a model may be on.
std::int32_t llama_model_n_devices(const llama_model* model);
ggml_backend_dev_t llama_model_get_device(const llama_model* model, int i);
