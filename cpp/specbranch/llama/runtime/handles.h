/// Owning pointers for llama.cpp's objects. No header of llama.cpp is needed to hold one.
#pragma once

#include <memory>

struct gguf_context;
struct llama_context;
struct llama_model;
struct llama_sampler;

namespace specbranch::llama {

struct Free {
  void operator()(llama_model* model) const noexcept;
  void operator()(llama_context* context) const noexcept;
  void operator()(llama_sampler* sampler) const noexcept;
  void operator()(gguf_context* gguf) const noexcept;
};

using ModelHandle = std::unique_ptr<llama_model, Free>;
using ContextHandle = std::unique_ptr<llama_context, Free>;
/// Never for a sampler that was added to a chain: the chain frees it.
using SamplerHandle = std::unique_ptr<llama_sampler, Free>;
using GgufHandle = std::unique_ptr<gguf_context, Free>;

}  // namespace specbranch::llama
