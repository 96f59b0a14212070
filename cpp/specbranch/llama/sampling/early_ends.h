/// Tokens that end a text, and the positions where they are not chosen yet.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/options.h"

namespace specbranch::llama {

/// Keeps a text from ending before it has `Request::min_tokens`. The rule depends on the position
/// alone, so that it is the same in every mode.
struct EarlyEnds {
  std::vector<Token> tokens;
  Pos until = 0;  ///< the first position where they may be chosen.

  /// The tokens that are forbidden at `pos`.
  std::span<const Token> at(Pos pos) const {
    return pos < until ? std::span<const Token>(tokens) : std::span<const Token>();
  }
};

/// The end tokens of the vocabulary and the stop tokens of the request; none without `min_tokens`.
EarlyEnds early_ends(const Vocabulary& vocabulary, const Request& request);

}  // namespace specbranch::llama
