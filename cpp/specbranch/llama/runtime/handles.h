/// Owning pointers for llama.cpp's objects.
#pragma once

#include <memory>

#include "llama.h"

namespace specbranch::llama {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* handle) const noexcept {
    Free(handle);
  }
};

using ModelHandle = std::unique_ptr<llama_model, Deleter<llama_model_free>>;
using ContextHandle = std::unique_ptr<llama_context, Deleter<llama_free>>;
/// Never for a sampler that was added to a chain: the chain frees it.
using SamplerHandle = std::unique_ptr<llama_sampler, Deleter<llama_sampler_free>>;
using GgufHandle = std::unique_ptr<gguf_context, Deleter<gguf_free>>;

}  // namespace specbranch::llama
