/// What samplers leave of a row of logits: the target chooses from it, the draft ranks it.
#pragma once

#include <span>
#include <vector>

#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/sampling/truncation.h"
#include "specbranch/model/options.h"
#include "specbranch/sampling/choice.h"

namespace specbranch::llama {

/// Logit bias, penalties, top-k, top-p, min-p and temperature, in llama.cpp's default order; then
/// the coupled choice. Target and draft use this class with the same options, so that a draft with
/// the target's own logits always proposes the target's token first.
///
/// What is cheap stays cheap: greedy and pure temperature never build a list of candidates, and
/// most blocks of the row are looked at once. The candidates are exactly those of llama.cpp's
/// samplers over the full vocabulary (equal logits at the edge: the lowest ids).
///
/// `logits` is written to and put back in every call. `history`: the tokens before the position of
/// the logits; its size is the position of the noise. Every call throws DecodeError when a logit is
/// NaN or +inf.
///
/// *Thread safety:* one thread at a time.
class TokenDistribution {
 public:
  explicit TokenDistribution(const SamplingOptions& options);

  /// The chosen token; -1 if every logit is -inf.
  Token choose(std::span<float> logits, std::span<const Token> history) const;

  /// The best proposals of a draft, `choose`'s token first (unless `beyond_first`).
  ///
  /// The rest are the next best of the distribution, and tokens that only a loosened truncation
  /// would leave (top-k doubled, top-p to (1 + top_p) / 2, min-p halved), as the target's logits
  /// differ from the draft's. Confidences are the softmax of the perturbed scores over the 64 best,
  /// of tokens beyond the truncation reduced by their weight; at temperature 0 of the logits.
  ///
  /// With SoftmaxSum::kQuick the edge of top-p may be off by a token now and then. `n_skipped`:
  /// tokens of the text before `history`, which the position of the noise counts.
  std::vector<Candidate> rank(std::span<float> logits, std::span<const Token> history,
                              const RankOptions& options, SoftmaxSum sum = SoftmaxSum::kExact,
                              Pos n_skipped = 0) const;

  /// What is left of the vocabulary before the noise, with final scores (for temperature > 0). In
  /// no particular order. For tests.
  std::vector<Scored> candidates(std::span<float> logits, std::span<const Token> history) const;

 private:
  bool truncates() const;
  std::vector<Scored> truncate(const ScoreRow& row, SoftmaxSum sum) const;
  std::vector<Scored> beyond(const ScoreRow& row, std::span<const Scored> kept) const;

  SamplingOptions options_;
  SamplerHandle sorted_cut_;  ///< top-p after top-k, and min-p, on candidates sorted by score.
};

}  // namespace specbranch::llama
