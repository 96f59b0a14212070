/// A record of one generation: what each model did when, and what became of the drafted tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "specbranch/core/types.h"

namespace specbranch {

/// One command on one model.
struct TraceSpan {
  enum class Kind : std::uint8_t { kPrefill, kVerify, kDraft };
  Side side = Side::kTarget;
  Kind kind = Kind::kVerify;
  std::int64_t begin_us = 0;  ///< since the generation began.
  std::int64_t end_us = 0;
  int n_tokens = 0;  ///< tokens of the batch: the verified path, or the draft's lanes.
};

/// One verdict as it was applied.
struct TraceRound {
  std::int64_t at_us = 0;          ///< since the generation began.
  int n_accepted = 0;              ///< tokens of the verified path that were accepted.
  std::vector<Token> committed;    ///< all that was committed, the target's own token included.
  std::vector<Token> rolled_back;  ///< drafted tokens of the main path that were dropped.
  bool branch_hit = false;         ///< the last committed token was on a branch.
};

struct Trace {
  std::vector<TraceSpan> spans;
  std::vector<TraceRound> rounds;
};

}  // namespace specbranch
