/// Follows a text that is being copied with changes.
#pragma once

#include <span>

#include "specbranch/base/types.h"

namespace specbranch {

/// A place in a text, and how well the new text follows it. After a changed token the cursor stays
/// near: the copy mostly goes on within a few tokens, while the tokens since the change are too few
/// to find the place again.
struct CopyCursor {
  static constexpr int kMostLost = 16;  ///< tokens after which a copy that was lost has ended.

  Pos next = -1;   ///< the token that is copied next; -1: nothing is copied.
  Pos begin = -1;  ///< where the copy was lost.
  int length = 0;  ///< tokens before `next` that were copied.
  int n_lost = 0;  ///< tokens since the copy was lost.

  bool active(std::span<const Token> text) const {
    return next >= 0 && static_cast<std::size_t>(next) < text.size();
  }

  /// The new text goes on with `token`; `text` is what is copied.
  void step(std::span<const Token> text, Token token);

  /// A copy of `n` tokens goes on at `pos`.
  void jump(Pos pos, int n) { *this = {pos, pos, n, 0}; }
};

}  // namespace specbranch
