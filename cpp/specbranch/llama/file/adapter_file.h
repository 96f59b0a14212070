/// What the GGUF file of a LoRA adapter says, read and checked before llama.cpp sees it.
#pragma once

#include <cstdint>
#include <string>

#include "specbranch/llama/file/model_file.h"

namespace specbranch::llama {

/// A LoRA adapter adds `scale * alpha / rank * B * A` to matrices of a model.
struct AdapterFile {
  std::string path;           ///< as it was given.
  std::string name;           ///< `general.name`; may be empty.
  std::string task_name;      ///< `adapter.lora.task_name`; may be empty.
  std::string prompt_prefix;  ///< `adapter.lora.prompt_prefix`; may be empty.
  float alpha = 0.0F;         ///< 0: the factor is `scale` alone.
  int rank = 0;               ///< the largest of its matrices.
  int n_matrices = 0;         ///< of the model, that it changes.
  int n_ignored = 0;          ///< vectors of norms, which llama.cpp does not apply.
  bool has_floats = false;    ///< some A or B is not quantized.
  std::uint64_t n_bytes = 0;  ///< of all A and B.
  /// Values that a product with its largest B has for a token, and for a row of logits.
  std::int64_t n_product = 0;
  std::int64_t n_output_product = 0;
};

/// How much of an adapter is checked.
struct AdapterCheck {
  bool values = true;             ///< read all matrices, and refuse NaN and Inf.
  bool model_has_weights = true;  ///< false: the model's weights come from a TensorFill.
};

/// Reads and checks the file. Throws ModelLoadError for whatever llama.cpp would refuse without a
/// reason, die of, or compute wrongly: a missing, truncated or foreign file, an adapter for another
/// architecture, matrices that `model` lacks or that have other sizes there, A without B, an
/// activated adapter (aLoRA), an embedding that is the output matrix, too.
AdapterFile inspect_adapter_file(const std::string& path, const ModelFile& model,
                                 const AdapterCheck& check = {});

}  // namespace specbranch::llama
