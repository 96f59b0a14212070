/// The target's choice of a token: llama.cpp's sampler chain, then the coupled choice.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/vocabulary/utf8_state.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/options.h"
#include "specbranch/sampling/choice.h"

namespace specbranch::llama {

/// Throws InvalidArgument unless `grammar` is GBNF with a rule `root`. Any thread. llama.cpp prints
/// the reason to stderr itself. An empty grammar is no grammar.
void check_grammar(const Vocabulary& vocabulary, const std::string& grammar);

/// The samplers of one generation, in llama.cpp's default order: logit bias, penalties, top-k,
/// top-p, min-p, temperature; with a grammar: chosen without it, and if the grammar forbids the
/// choice, again among the tokens it allows, with the same noise. Under a grammar the text is
/// UTF-8.
///
/// What is cheap stays cheap: greedy and pure temperature never build a list of candidates, top-k
/// and top-p take theirs with a heap. The candidates are exactly those of llama.cpp's samplers over
/// the full vocabulary (equal logits at the edge: the lowest ids).
///
/// *Thread safety:* one thread at a time.
/// *Lifecycle:* 1. construct with the prompt 2. choose, accept, choose, accept, ...
class SamplerChain {
 public:
  /// `vocabulary` must outlive this. Throws InvalidArgument for a bad grammar.
  SamplerChain(const Vocabulary& vocabulary, const SamplingOptions& options,
               std::span<const Token> prompt);

  /// The token for position `history().size()`, from the model's logits; `logits` is written to
  /// and put back. Empty: no token is allowed. Throws DecodeError on NaN.
  std::optional<Token> choose(std::span<float> logits);

  /// Adds a token to the text: what the penalties and the grammar see.
  void accept(Token token);

  /// Prompt and accepted tokens.
  std::span<const Token> history() const noexcept { return history_; }

  /// What is left of the vocabulary before the noise, with final scores (for temperature > 0); the
  /// grammar not applied. In no particular order. For tests.
  std::vector<Scored> candidates(std::span<float> logits) const;

 private:
  Token choose_without_grammar(std::span<float> logits, const PositionNoise* noise) const;
  std::vector<Scored> truncate(std::span<const float> logits) const;
  bool is_allowed(Token token) const;
  bool is_spelled(Token token) const;
  /// Logits with -inf for what the grammar forbids; empty if it forbids everything.
  std::span<float> mask(std::span<const float> logits);

  const Vocabulary& vocabulary_;
  SamplingOptions options_;
  std::vector<Token> history_;
  SamplerHandle sorted_cut_;  ///< top-p after top-k, and min-p, on candidates sorted by score.
  SamplerHandle grammar_;     ///< null: none.
  Utf8State spelled_;         ///< of the text under the grammar, which takes too long spellings.
  std::vector<float> masked_;
  mutable std::vector<float> scaled_;
};

}  // namespace specbranch::llama
