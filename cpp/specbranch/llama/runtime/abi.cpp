#include "specbranch/llama/runtime/abi.h"

#include "ggml-cpu.h"
#include "ggml.h"
#include "llama.h"

#include "llama_build_info.h"

namespace specbranch::llama {

LlamaBuild compiled_llama() {
  LlamaBuild build;
  build.versions = {SPECBRANCH_LLAMA_VERSION, SPECBRANCH_GGML_VERSION, SPECBRANCH_GGML_COMMIT};
  build.headers = SPECBRANCH_LLAMA_HEADERS;
  build.model_params_size = sizeof(llama_model_params);
  build.context_params_size = sizeof(llama_context_params);
  build.batch_size = sizeof(llama_batch);
  build.threadpool_params_size = sizeof(ggml_threadpool_params);
  return build;
}

LlamaVersions loaded_llama() { return {llama_version(), ggml_version(), ggml_commit()}; }

}  // namespace specbranch::llama
