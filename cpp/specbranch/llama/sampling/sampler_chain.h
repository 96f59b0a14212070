/// The target's choice of a token, with a constraint on top of the distribution.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "specbranch/llama/sampling/forced_tokens.h"
#include "specbranch/llama/sampling/token_constraint.h"
#include "specbranch/llama/sampling/token_distribution.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/options.h"
#include "specbranch/sampling/choice.h"

namespace specbranch::llama {

/// The samplers of one generation. With a constraint a token is chosen without it, and if the
/// constraint forbids the token, again among those it allows, with the same noise.
///
/// *Thread safety:* one thread at a time.
/// *Lifecycle:* 1. construct with the prompt 2. choose, accept, choose, accept, ...
class SamplerChain {
 public:
  /// `vocabulary` must outlive this. `dry` is needed only if `options` have DRY. Throws
  /// InvalidArgument for a bad grammar, or a sequence breaker that cannot be tokenized.
  SamplerChain(const Vocabulary& vocabulary, const SamplingOptions& options,
               std::span<const Token> prompt, DryFactory* dry = nullptr, EarlyEnds early = {});

  /// The token for position `history().size()`, from the model's logits; `logits` is written to
  /// and put back. Empty: no token is allowed. Throws DecodeError on NaN.
  std::optional<Token> choose(std::span<float> logits);

  /// Adds a token to the text: what the penalties and the constraint see. Samplers that remember
  /// what was chosen do so if it is the token of the last `choose`.
  void accept(Token token);

  /// From now on `forced` tells what the constraint forces. Only at the begin of an answer.
  void find_forced_tokens();

  /// What it forces after the history; nothing unless it was asked to find it.
  ForcedRun forced();

  /// What the samplers remember of the text; empty: nothing.
  std::optional<SamplerState> state() const;

  /// Prompt and accepted tokens.
  std::span<const Token> history() const noexcept { return history_; }

 private:
  Token choose_from(std::span<float> logits);

  const Vocabulary& vocabulary_;
  TokenDistribution distribution_;
  SamplerState state_;       ///< after `history_`.
  SamplerState next_state_;  ///< after `history_` and `chosen_`.
  Token chosen_ = -1;        ///< by the last `choose`.
  std::vector<Token> history_;
  std::unique_ptr<TokenConstraint> constraint_;  ///< null: none.
  std::unique_ptr<ForcedTokens> forced_;         ///< null: nobody asks.
  std::vector<float> masked_;                    ///< logits with -inf for what it forbids.
};

}  // namespace specbranch::llama
