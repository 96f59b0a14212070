/// DRY: a penalty for tokens that would go on with a sequence that the text has already.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/sampling_options.h"

struct llama_token_data;

namespace specbranch::llama {

/// llama.cpp's DRY as a function of the text: its sampler gets the whole window every time, as
/// branches of a draft have several texts.
///
/// *Thread safety:* one thread at a time.
class DryPenalty {
 public:
  /// `sampler`: llama.cpp's, which sees the last `window` tokens.
  DryPenalty(SamplerHandle sampler, int window);

  /// Lowers the logits of `tokens`, after the text `history`.
  void apply(std::span<llama_token_data> tokens, std::span<const Token> history) const;

  /// The end of `history` that DRY sees: `apply` changes no logit of another token.
  std::span<const Token> window_of(std::span<const Token> history) const;

 private:
  SamplerHandle sampler_;
  std::size_t window_;
};

/// Makes DRY for the sessions of a model. The sequence breakers cost a pass over the vocabulary
/// each (a tenth of a second for 150,000 tokens), so the last few settings stay.
///
/// *Thread safety:* one thread at a time.
class DryFactory {
 public:
  /// `vocabulary` outlives this. No text is longer than `n_ctx`.
  DryFactory(const Vocabulary& vocabulary, Pos n_ctx) : vocabulary_(&vocabulary), n_ctx_(n_ctx) {}

  const Vocabulary& vocabulary() const { return *vocabulary_; }

  /// Null if `options` have DRY off. Throws InvalidArgument for breakers that llama.cpp cannot
  /// tokenize.
  std::shared_ptr<const DryPenalty> make(const SamplingOptions& options);

 private:
  /// All options that llama.cpp's sampler depends on.
  using Settings = std::tuple<float, float, int, int, std::vector<std::string>>;

  struct Prepared {
    Settings settings;
    SamplerHandle sampler;
  };

  const llama_sampler* prepared(const SamplingOptions& options, int window);

  const Vocabulary* vocabulary_;
  Pos n_ctx_;
  std::list<Prepared> prepared_;  ///< the most recent first.
};

}  // namespace specbranch::llama
