/// Whether the loaded llama.cpp is the one that this program was compiled for.
#pragma once

#include <cstddef>
#include <string>

namespace specbranch::llama {

/// The versions that a llama.cpp tells of itself.
struct LlamaVersions {
  std::string llama;
  std::string ggml;
  std::string ggml_commit;
};

/// What this program was compiled with. The sizes are those of structs that cross the interface by
/// value, in bytes.
struct LlamaBuild {
  LlamaVersions versions;
  std::string headers;  ///< fingerprint of the headers (SHA-256, see FindLlamaCpp.cmake).
  std::size_t model_params_size = 0;
  std::size_t context_params_size = 0;
  std::size_t batch_size = 0;
  std::size_t threadpool_params_size = 0;
};

LlamaBuild compiled_llama();

/// Calls only the version functions of the loaded llama.cpp, so that it is safe after a mismatch.
LlamaVersions loaded_llama();

}  // namespace specbranch::llama
