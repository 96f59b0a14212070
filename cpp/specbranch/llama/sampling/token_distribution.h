/// What samplers leave of a row of logits: the target chooses from it, the draft ranks it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/sampling/dry_penalty.h"
#include "specbranch/llama/sampling/early_ends.h"
#include "specbranch/llama/sampling/sampler_plan.h"
#include "specbranch/llama/sampling/token_counts.h"
#include "specbranch/llama/sampling/truncation.h"
#include "specbranch/model/options.h"
#include "specbranch/sampling/choice.h"
#include "specbranch/sampling/sampler_state.h"

namespace specbranch::llama {

class LogitAdjustments;
class Sampler;
struct ChoicePoint;
struct KeptTokens;

/// Logit bias, then the samplers of the options in their order; then the coupled choice. Target and
/// draft use this class with the same options, so that a draft with the target's own logits always
/// proposes the target's token first, unless the samplers remember what was chosen (mirostat,
/// adaptive-p).
///
/// What is cheap stays cheap: with llama.cpp's order, greedy, pure temperature, top-k, top-p and
/// min-p never build a list of all candidates, and most blocks of the row are looked at once. The
/// candidates are exactly those of llama.cpp's samplers over the full vocabulary (equal logits at
/// the edge: the lowest ids). Other samplers and orders take a list of candidates through
/// llama.cpp's own samplers (see `Sampler`).
///
/// `logits` is written to and put back in every call. `history`: the tokens before the position of
/// the logits; its size is the position of the noise. Every call throws DecodeError when a logit is
/// NaN or +inf.
///
/// *Thread safety:* one thread at a time.
class TokenDistribution {
 public:
  /// `dry` makes DRY, and is needed only if `options` have DRY.
  explicit TokenDistribution(const SamplingOptions& options, DryFactory* dry = nullptr,
                             EarlyEnds early = {});
  ~TokenDistribution();
  TokenDistribution(TokenDistribution&& other) noexcept;
  TokenDistribution& operator=(TokenDistribution&& other) noexcept;

  /// A sampler remembers what was chosen: mirostat or adaptive-p.
  bool remembers() const noexcept { return plan_.remembers; }

  /// What the samplers remember before the first token.
  const SamplerState& initial() const noexcept { return initial_; }

  /// The chosen token; -1 if every logit is -inf. `state`: what the samplers remember; after the
  /// choice that with this token.
  Token choose(std::span<float> logits, std::span<const Token> history, SamplerState& state) const;

  /// The best proposals of a draft, `choose`'s token first (unless `beyond_first`).
  ///
  /// The rest are the next best of the distribution, and tokens that only a loosened truncation
  /// would leave (top-k doubled, top-p to (1 + top_p) / 2, min-p halved), as the target's logits
  /// differ from the draft's; with samplers beyond these three there are none. Confidences are the
  /// softmax of the perturbed scores over the 64 best, of tokens beyond the truncation reduced by
  /// their weight; at temperature 0 of the logits. What samplers remember is
  /// `RankOptions::state`, also at positions beyond the text.
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
  LogitAdjustments adjusted(std::span<float> logits, std::span<const Token> history,
                            Pos n_skipped = 0) const;
  bool truncates() const;
  std::vector<Scored> truncate(const ScoreRow& row, SoftmaxSum sum) const;
  std::vector<Scored> beyond(const ScoreRow& row, std::span<const Scored> kept) const;
  Token choose_filtered(const ScoreRow& row, const ChoicePoint& point, SamplerState& state) const;
  std::vector<Candidate> rank_filtered(const ScoreRow& row, const ChoicePoint& point,
                                       const RankOptions& options) const;
  KeptTokens filter(const ScoreRow& row, const ChoicePoint& point) const;

  SamplerPlan plan_;
  SamplingOptions options_;  ///< idle samplers are off.
  EarlyEnds early_;
  SamplerHandle sorted_cut_;  ///< top-p after top-k, and min-p, on candidates sorted by score.
  std::shared_ptr<const DryPenalty> dry_;
  std::vector<std::unique_ptr<Sampler>> samplers_;  ///< of `plan_.rest` and mirostat, if not quick.
  SamplerState initial_;
  mutable TokenCounts counts_;
};

}  // namespace specbranch::llama
