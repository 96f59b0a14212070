/// The chunks in which a model reads its prompt.
#pragma once

#include <algorithm>
#include <optional>

#include "specbranch/model/messages.h"

namespace specbranch {

/// How far a model has read its prompt.
class PromptReader {
 public:
  PromptReader() = default;

  /// The sequence holds `held` tokens and must hold `end`. A chunk ends at the next multiple of
  /// `chunk`.
  PromptReader(Pos held, Pos end, int chunk) : held_(held), end_(end), chunk_(chunk) {}

  /// The next chunk; none: the whole prompt is read.
  std::optional<PrefillCommand> next() const {
    if (held_ >= end_) return std::nullopt;
    return PrefillCommand{held_, std::min(end_, (held_ / chunk_ + 1) * chunk_)};
  }

  /// A chunk is read: the sequence holds `length`.
  void read(Pos length) { held_ = length; }

  Pos held() const { return held_; }
  Pos end() const { return end_; }

 private:
  Pos held_ = 0;
  Pos end_ = 0;
  int chunk_ = 1;
};

}  // namespace specbranch
