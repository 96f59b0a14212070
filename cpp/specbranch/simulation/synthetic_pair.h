/// A pair of models without weights whose acceptance is a parameter, for simulation.
///
/// The text is a recorded one, or a hash of the position, or of the position that it repeats. A
/// draft whose sequence holds the text so far proposes the next token at a rank drawn from a law,
/// with confidences that mean what they say; one on a wrong branch proposes tokens that look as
/// good and never are. The two must be made from equal options. Texts with different seeds
/// (`Request::sampling`) are different.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "specbranch/model/model.h"
#include "specbranch/report/trace.h"

namespace specbranch {

/// So many tokens of a text in which the first candidate is right with this probability.
struct AcceptanceSegment {
  std::int64_t n_tokens = 0;
  double alpha = 0.0;
};

struct SyntheticOptions {
  int n_vocab = 1000;
  Pos n_ctx = 1 << 20;
  int n_seq = 32;        ///< of the draft.
  int n_target_seq = 1;  ///< of the target: texts that may run at once.
  int n_branches = 0;    ///< of the target: branches that one verification may have.
  int max_batch = 128;
  std::uint64_t seed = 1;  ///< of the text and of everything that is drawn.

  double alpha = 0.7;  ///< probability that the first candidate is right, in [0, 1].
  /// Acceptance that changes along the text, in place of `alpha`; the last one holds on.
  std::vector<AcceptanceSegment> segments;
  /// Of the misses, the share in which rank 2, 3 .. was right; not increasing, sum at most 1.
  /// Default: a trained pair's at temperature 0.
  std::vector<double> rank_hits = {0.29, 0.15, 0.08, 0.05, 0.035, 0.025, 0.02};
  /// The first confidence q is Beta(alpha c, (1 - alpha) c); small c: either sure or in doubt.
  double concentration = 2.0;
  /// Reported confidence: q^d / (q^d + (1-q)^d). 1: it is the probability of being right; below:
  /// the draft is under-confident where it is right, above: over-confident.
  double distortion = 1.0;

  /// Recorded proposals in place of the law, one a position, from `text_begin` on, again from the
  /// start when they end. Where one is not known, and on wrong branches, one of the others is
  /// drawn.
  std::vector<DraftRecord> replay;
  Pos text_begin = 1;  ///< where `segments`, `replay` and copies begin: the length of the prompt.

  /// The text is cut into stretches of `copy_length` tokens. Each one repeats an earlier one with
  /// probability `copy_rate`, in [0, 1]: what drafts from the text can find.
  double copy_rate = 0.0;
  int copy_length = 48;

  /// The text from `text_begin` on, in place of an invented one, which follows at its end.
  std::vector<Token> text;
};

/// Throws InvalidArgument for the first option that is out of range.
void validate(const SyntheticOptions& options);

std::unique_ptr<TargetModel> make_synthetic_target(const SyntheticOptions& options);
std::unique_ptr<DraftModel> make_synthetic_draft(const SyntheticOptions& options);

}  // namespace specbranch
