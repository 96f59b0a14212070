#pragma once

// Functions that libllama exports (with C++ names) and no installed header declares; the
// parameters are part of their mangled names, so the linker checks them.

#include <cstdint>

struct llama_context;

/// Keep the input of layer `lid` for every token of the next batches (0: the embedding, l: the
/// output of block l-1). Only for architectures that have the tag, and lid < n_layer: otherwise the
/// process aborts, here or at the next decode. A change reserves the graph again (5 ms).
void llama_set_embeddings_layer_inp(llama_context* ctx, std::uint32_t lid, bool enabled);

/// That input: [n_tokens][n_embd], in the order of the last batch, valid until the next decode.
float* llama_get_embeddings_layer_inp(llama_context* ctx, std::uint32_t lid);
