/// The statistics of one generation: counters and times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/options.h"

namespace specbranch {

/// Counted by the decoder; a function of the events alone.
///
/// A *drafted* token is one on the main path (rank 1 from the root on) or on a branch that survived
/// a verification, counted once: n_drafted = n_accepted + n_rolled_back + n_unresolved. A token
/// that only a text has proposed counts when it is verified.
struct Counters {
  std::int64_t n_generated = 0;     ///< committed tokens, the end token not among them.
  std::int64_t n_target_steps = 0;  ///< verifications that ended, also those that came too late.
  std::int64_t n_draft_steps = 0;   ///< draft forward passes.
  std::int64_t n_draft_lanes = 0;   ///< tokens decoded by the draft, all branches.
  std::int64_t n_drafted = 0;
  std::int64_t n_accepted = 0;
  std::int64_t n_rolled_back = 0;  ///< not committed because of a rejection or a policy's cut.
  std::int64_t n_unresolved = 0;   ///< beyond the end, a stop string, max_tokens or a cancel.
  std::int64_t n_all_drafted = 0;  ///< every drafted token, on any branch.
  /// Of `n_drafted` and `n_accepted`: tokens that the text itself proposed (the prompt and what is
  /// committed, the prediction, other texts).
  std::int64_t n_lookup_drafted = 0;
  std::int64_t n_lookup_accepted = 0;
  /// The same of tokens that a grammar left no choice about; they are not among those of texts.
  std::int64_t n_forced_drafted = 0;
  std::int64_t n_forced_accepted = 0;
  /// Of the tokens of texts: those of `Request::prediction` that were accepted, and that were
  /// rolled back.
  std::int64_t n_prediction_accepted = 0;
  std::int64_t n_prediction_rejected = 0;
  /// Verifications of a tree: a path, and branches beside it.
  std::int64_t n_tree_steps = 0;
  std::int64_t n_branch_verified = 0;  ///< tokens on these branches.
  std::int64_t n_branches_taken = 0;   ///< verifications whose text left the path for a branch.
  /// Of `n_accepted`: tokens on these branches. A path would have ended before the first of them.
  std::int64_t n_branch_accepted = 0;
  std::int64_t branch_hits = 0;     ///< the token after the accepted ones was a node of the tree.
  std::int64_t branch_misses = 0;   ///< drafted tokens were rejected, and it was not in the tree.
  std::int64_t policy_skipped = 0;  ///< rounds for which the caller's policy could not be asked.
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
  double target_busy_ms = 0.0;  ///< within decode_ms, as the next ones.
  double draft_busy_ms = 0.0;
  double target_idle_ms = 0.0;   ///< decode_ms - target_busy_ms.
  double draft_idle_ms = 0.0;    ///< the same for the draft; 0 if the draft never got the text.
  double overlap_ms = 0.0;       ///< both busy.
  double coordination_ms = 0.0;  ///< neither busy.
  std::int64_t n_processor_calls = 0;  ///< of the caller's functions between tokens.
  double processor_ms = 0.0;           ///< in these calls, also beside the target.
  double processor_wait_ms = 0.0;      ///< that the target waited for them.
  std::string mode_reason;  ///< the reason for another schedule than requested; empty: none.
};

/// Adds up the busy times of the two models. Each model does one command at a time.
///
/// The meter keeps the intervals of one model that end while the other model is busy.
class BusyMeter {
 public:
  /// What happened before `begin_us` does not count; nothing does before this call. Once more: the
  /// start moves, as long as one of the models has not ended its first command.
  void start(std::int64_t begin_us);

  /// The model got a command at `now_us`: it begins no earlier.
  void sent(ModelRole role, std::int64_t now_us);

  /// The model was at work on that command from `begin_us` to `end_us`.
  void add(ModelRole role, std::int64_t begin_us, std::int64_t end_us);

  std::int64_t target_us() const { return models_[0].busy_us; }
  std::int64_t draft_us() const { return models_[1].busy_us; }
  std::int64_t overlap_us() const { return overlap_us_; }

  /// Intervals that are kept.
  std::size_t n_kept() const { return models_[0].recent.size() + models_[1].recent.size(); }

 private:
  struct Interval {
    std::int64_t begin_us;
    std::int64_t end_us;
  };
  struct Activity {
    std::int64_t busy_us = 0;
    std::optional<std::int64_t> sent_us;  ///< of the command under way.
    std::vector<Interval> recent;         ///< those that may overlap the other's command under way.
  };
  Activity models_[2];
  std::int64_t start_us_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t overlap_us_ = 0;
};

}  // namespace specbranch
