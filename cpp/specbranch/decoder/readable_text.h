/// The text as the draft reads it, where its vocabulary is smaller than the target's.
#pragma once

#include <algorithm>
#include <span>

#include "specbranch/base/types.h"

namespace specbranch {

/// The draft has all of these tokens.
inline bool is_readable(std::span<const Token> tokens, int n_vocab) {
  return std::ranges::all_of(tokens, [&](Token token) { return token < n_vocab; });
}

/// Replaces every token that the draft lacks by the draft's last one. In the vocabularies of one
/// family the last tokens are reserved ones, as are those that the smaller vocabulary lacks. The
/// draft may guess worse after it; the text does not depend on that.
inline void make_readable(std::span<Token> tokens, int n_vocab) {
  for (Token& token : tokens) token = std::min(token, n_vocab - 1);
}

}  // namespace specbranch
