#include "specbranch/llama/runtime/handles.h"

#include "gguf.h"
#include "llama.h"

namespace specbranch::llama {

void Free::operator()(llama_model* model) const noexcept { llama_model_free(model); }

void Free::operator()(llama_context* context) const noexcept { llama_free(context); }

void Free::operator()(llama_sampler* sampler) const noexcept { llama_sampler_free(sampler); }

void Free::operator()(gguf_context* gguf) const noexcept { gguf_free(gguf); }

}  // namespace specbranch::llama
