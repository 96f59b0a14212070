/// Which part of a text a draft with a short context reads.
#pragma once

#include <algorithm>

#include "specbranch/base/types.h"

namespace specbranch {

/// The draft reads the end of the text. When its context is nearly full, it begins anew with the
/// last quarter to half of it: so it reads a token twice on average. The window begins at multiples
/// of a quarter of the context, so that the next turn of a conversation finds it where it was.
class DraftWindow {
 public:
  DraftWindow() = default;
  /// `limit`: the length at which the text ends.
  DraftWindow(Pos n_ctx, Pos limit) : n_ctx_(n_ctx), limit_(limit) {}

  /// The first position that the draft reads.
  Pos begin() const { return begin_; }

  /// The position after the last one that it may read.
  Pos end() const { return begin_ + n_ctx_; }

  /// A text of `length` tokens needs a later window.
  bool outgrown(Pos length) const { return end() < limit_ && length - begin_ > n_ctx_ - spare(); }

  /// Chooses the window of a text of `length` tokens, at least one.
  void move_to(Pos length) {
    begin_ = 0;
    if (!outgrown(length)) return;
    const Pos step = std::max(1, n_ctx_ / 4);
    const Pos excess = length - std::max(1, n_ctx_ / 2);
    begin_ = std::min(length - 1, (excess + step - 1) / step * step);
  }

 private:
  /// Room for drafted tokens beyond the text, while there is a choice.
  Pos spare() const { return std::min(32, n_ctx_ / 4); }

  Pos n_ctx_ = 1;
  Pos limit_ = 1;
  Pos begin_ = 0;
};

}  // namespace specbranch
