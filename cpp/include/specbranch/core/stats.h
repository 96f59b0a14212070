/// What one generation did and what it cost.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "specbranch/core/options.h"
#include "specbranch/core/types.h"

namespace specbranch {

/// Counted by the decoder; a function of the events alone.
///
/// A *drafted* token is one on the main path (rank 1 from the root on) or on a branch that survived
/// a verification, counted once: n_drafted = n_accepted + n_rolled_back + n_unresolved.
struct Counters {
  std::int64_t n_generated = 0;     ///< committed tokens, the end token not among them.
  std::int64_t n_target_steps = 0;  ///< verifications, prefill not among them.
  std::int64_t n_draft_steps = 0;   ///< draft forward passes.
  std::int64_t n_draft_lanes = 0;   ///< tokens decoded by the draft, all branches.
  std::int64_t n_drafted = 0;
  std::int64_t n_accepted = 0;
  std::int64_t n_rolled_back = 0;  ///< not committed because of a rejection or a policy's cut.
  std::int64_t n_unresolved = 0;   ///< beyond the end, a stop string, max_tokens or a cancel.
  std::int64_t n_all_drafted = 0;  ///< every drafted token, on any branch.
  std::int64_t branch_hits = 0;    ///< the token after the accepted ones was a node of the tree.
  std::int64_t branch_misses = 0;
  std::vector<std::int64_t> acceptance_histogram;  ///< [i]: verifications that accepted i tokens.

  bool operator==(const Counters&) const = default;
};

/// `GenerationStats` of the Python package.
struct Stats {
  Counters counters;
  Mode mode = Mode::kAutoregressive;
  std::uint64_t seed = 0;
  std::int64_t n_prompt = 0;
  std::int64_t n_reused = 0;  ///< prompt tokens that the target did not compute again.
  double prefill_ms = 0.0;
  double decode_ms = 0.0;
  double target_busy_ms = 0.0;  ///< without prefill, as the next two.
  double draft_busy_ms = 0.0;
  double overlap_ms = 0.0;       ///< both busy.
  double coordination_ms = 0.0;  ///< neither busy.
  std::string why;  ///< why the engine decoded otherwise than asked; empty: it did not.
};

/// Adds up busy times of the two models from intervals that arrive in order of their end, per side.
class BusyMeter {
 public:
  /// What happened before `begin_us` does not count; nothing does before this call.
  void start(std::int64_t begin_us) { start_us_ = begin_us; }

  void add(Side side, std::int64_t begin_us, std::int64_t end_us);

  std::int64_t target_us() const { return target_us_; }
  std::int64_t draft_us() const { return draft_us_; }
  std::int64_t overlap_us() const { return overlap_us_; }

 private:
  struct Interval {
    std::int64_t begin_us;
    std::int64_t end_us;
  };
  std::vector<Interval> recent_[2];  ///< per side, those that may still overlap the other's future.
  std::int64_t start_us_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t target_us_ = 0;
  std::int64_t draft_us_ = 0;
  std::int64_t overlap_us_ = 0;
};

}  // namespace specbranch
