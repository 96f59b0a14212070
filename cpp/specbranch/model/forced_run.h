/// Tokens about which the rule of a text leaves no choice.
#pragma once

#include <cstddef>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// What a grammar makes the next tokens of a text. It is a proposal like any other: the same bytes
/// may be spelled by other tokens, so the text does not depend on it.
struct ForcedRun {
  std::vector<Token> tokens;
  /// The first so many are sure but for their spelling. The others rest on a guess, or are at the
  /// end, where a token that reaches beyond the forced bytes may take their place.
  std::size_t n_sure = 0;

  /// A token joins the text: the run gets shorter, or has ended if another one was expected.
  /// Returns whether it was the first of them.
  bool take(Token token) {
    if (tokens.empty() || tokens.front() != token) {
      *this = {};
      return false;
    }
    tokens.erase(tokens.begin());
    if (n_sure > 0) --n_sure;
    return true;
  }
};

}  // namespace specbranch
