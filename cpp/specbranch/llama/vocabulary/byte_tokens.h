/// The tokens of single bytes.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "specbranch/base/types.h"
#include "specbranch/llama/vocabulary/vocabulary.h"

namespace specbranch::llama {

/// Most vocabularies have a token for every byte.
///
/// *Thread safety:* immutable; any thread.
class ByteTokens {
 public:
  /// Looks at every token once.
  explicit ByteTokens(const Vocabulary& vocabulary) {
    tokens_.fill(-1);
    for (Token token = 0; token < vocabulary.size(); ++token) {
      const std::string_view piece = vocabulary.piece(token);
      if (piece.size() == 1 && !vocabulary.is_end(token)) at(piece.front()) = token;
    }
  }

  /// -1: there is none.
  Token of(unsigned char byte) const noexcept { return tokens_[byte]; }

 private:
  Token& at(char byte) { return tokens_[static_cast<unsigned char>(byte)]; }

  std::array<Token, 256> tokens_{};
};

}  // namespace specbranch::llama
