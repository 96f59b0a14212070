/// The embedding of single tokens, read from the model's file.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/llama/file/model_file.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {

/// Rows of a model's `token_embd.weight` as floats, without what some architectures multiply them
/// by.
///
/// *Thread safety:* one thread at a time. *Lifecycle:* keeps the file open, and nothing in memory.
class EmbeddingTable {
 public:
  /// Whether there is such a matrix of this width, of a type that can be read.
  static bool can_read(const ModelFile& file);

  /// Throws ModelLoadError when the file cannot be opened, or has become shorter than it was.
  explicit EmbeddingTable(const ModelFile& file);

  int n_embd() const { return static_cast<int>(place_.n_columns); }
  Token n_tokens() const { return static_cast<Token>(place_.n_rows); }

  /// Writes the row of `token` to `row`, which has n_embd numbers. One read of some kB (2 us when
  /// the file is cached). Throws PreconditionError for a wrong token or size, DecodeError when the
  /// file cannot be read any more.
  void read(Token token, std::span<float> row);

 private:
  TensorPlace place_;
  ReadOnlyFile file_;
  std::vector<char> bytes_;  ///< one row as it is stored.
};

}  // namespace specbranch::llama
