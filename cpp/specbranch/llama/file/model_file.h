/// What a GGUF file says about its model, read and checked before llama.cpp sees it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace specbranch::llama {

/// Where a matrix lies in its file, row after row.
struct TensorPlace {
  std::string path;          ///< of the file or, if the model is split, of the part.
  std::uint64_t offset = 0;  ///< of its first byte.
  int type = 0;              ///< a ggml_type.
  std::int64_t n_columns = 0;
  std::int64_t n_rows = 0;  ///< 0: there is no such matrix.
};

/// The facts of a model file that need no weights. Costs a read of the header (the vocabulary is
/// its largest part): 10 to 100 ms for 150,000 tokens.
struct ModelFile {
  std::string path;                ///< as it was given.
  std::vector<std::string> parts;  ///< the files, in order; of a model that is not split: `path`.
  std::string architecture;
  std::string name;             ///< `general.name`; may be empty.
  std::string quantization;     ///< the type that holds most of the weights' bytes, e.g. "q8_0".
  int weight_type = 0;          ///< the same as a ggml_type.
  bool uniform_weights = true;  ///< every matrix has that type.
  std::int64_t n_parameters = 0;
  std::uint64_t weight_bytes = 0;  ///< of all tensors, all parts.
  int n_layers = 0;
  int n_embd = 0;
  int n_vocab = 0;
  int n_ctx_train = 0;
  /// Positions that it has learned a vector for; llama.cpp aborts at the next one. 0: any.
  int n_positions = 0;
  /// K and V elements that one cell of an attention cache holds, over all layers; 0: not known for
  /// this architecture.
  std::int64_t k_elements = 0;
  std::int64_t v_elements = 0;
  TensorPlace embedding;  ///< of the tokens, a row each.

  /// Bytes of one cell; 0: not known. `type_k` and `type_v` are ggml_types.
  std::uint64_t cell_bytes(int type_k, int type_v) const;
};

/// Reads and checks the file (all parts, if it is split). Throws ModelLoadError for whatever
/// llama.cpp would refuse without a reason, or die of: a missing, empty, truncated or foreign file,
/// encoders, models for embeddings, no vocabulary, repeated tokens, absurd metadata.
/// `with_weights` of false: the file may lack the weights, which come from a TensorFill.
ModelFile inspect_model_file(const std::string& path, bool with_weights = true);

/// Throws IncompatibleModels if llama.cpp cannot decode several sequences of this model at once, as
/// the branches of a draft are.
void check_can_draft(const ModelFile& file);

/// The same for the several texts of a target, of which no state may be wrong.
void check_several_texts(const ModelFile& file);

}  // namespace specbranch::llama
