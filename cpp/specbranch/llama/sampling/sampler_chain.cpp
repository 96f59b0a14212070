#include "specbranch/llama/sampling/sampler_chain.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

bool nothing_left(std::span<const float> logits) {
  return std::all_of(logits.begin(), logits.end(), [](float s) { return s == kForbidden; });
}

}  // namespace

SamplerChain::SamplerChain(const Vocabulary& vocabulary, const SamplingOptions& options,
                           std::span<const Token> prompt, DryFactory* dry, EarlyEnds early)
    : vocabulary_(vocabulary),
      distribution_(options, dry, std::move(early)),
      state_(distribution_.initial()),
      history_(prompt.begin(), prompt.end()),
      constraint_(make_constraint(vocabulary, options)) {}

Token SamplerChain::choose_from(std::span<float> logits) {
  next_state_ = state_;
  chosen_ = distribution_.choose(logits, history_, next_state_);
  return chosen_;
}

std::optional<Token> SamplerChain::choose(std::span<float> logits) {
  const Token first = choose_from(logits);
  if (first < 0) return std::nullopt;
  if (!constraint_ || constraint_->allows(first)) return first;
  masked_.assign(logits.begin(), logits.end());
  constraint_->mask(masked_);
  if (nothing_left(masked_)) return std::nullopt;
  const Token second = choose_from(masked_);
  if (second < 0) return std::nullopt;
  return second;
}

void SamplerChain::find_forced_tokens() {
  if (!constraint_ || !constraint_->copies_fast()) return;
  try {
    forced_ = std::make_unique<ForcedTokens>(vocabulary_, *constraint_);
  } catch (const Error&) {
    forced_.reset();  // the text goes on without drafts
  }
}

ForcedRun SamplerChain::forced() { return forced_ ? forced_->after(history_) : ForcedRun{}; }

std::optional<SamplerState> SamplerChain::state() const {
  if (!distribution_.remembers()) return std::nullopt;
  return state_;
}

void SamplerChain::accept(Token token) {
  history_.push_back(token);
  if (token == chosen_) state_ = next_state_;
  chosen_ = -1;
  // An end token ends the text.
  if (!constraint_ || vocabulary_.is_end(token)) return;
  constraint_->accept(token);
  if (forced_) forced_->accept(token);
}

}  // namespace specbranch::llama
