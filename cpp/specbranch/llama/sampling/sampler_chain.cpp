#include "specbranch/llama/sampling/sampler_chain.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "llama.h"
#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
// The parser recurses: deeper nesting would overflow the stack of the thread.
constexpr int kMaxNesting = 1000;

void check_nesting(const std::string& grammar) {
  // Parentheses in literals, character classes and comments are not nesting.
  int depth = 0;
  char closer = '\0';
  for (std::size_t i = 0; i < grammar.size(); ++i) {
    const char c = grammar[i];
    if (closer != '\0') {
      if (c == '\\' && closer != '\n') {
        ++i;
      } else if (c == closer) {
        closer = '\0';
      }
      continue;
    }
    if (c == '"' || c == '[' || c == '#') closer = c == '"' ? '"' : c == '[' ? ']' : '\n';
    if (c == '(' && ++depth > kMaxNesting) {
      throw InvalidArgument("[check_grammar] the grammar's parentheses nest too deep; " +
                            std::to_string(kMaxNesting));
    }
    if (c == ')' && depth > 0) --depth;
  }
}

SamplerHandle make_grammar(const Vocabulary& vocabulary, const std::string& grammar) {
  if (grammar.empty()) return nullptr;
  if (grammar.find('\0') != std::string::npos) {
    throw InvalidArgument("[check_grammar] the grammar holds a zero byte");
  }
  check_nesting(grammar);
  SamplerHandle sampler;
  try {
    sampler.reset(llama_sampler_init_grammar(vocabulary.get(), grammar.c_str(), "root"));
  } catch (const std::exception& error) {
    throw InvalidArgument(std::string("[check_grammar] the grammar is wrong; ") + error.what());
  }
  if (!sampler) {
    throw InvalidArgument(
        "[check_grammar] the grammar is not GBNF, or has no rule `root`, or "
        "recurses to the left");
  }
  return sampler;
}

bool nothing_left(std::span<const float> logits) {
  return std::all_of(logits.begin(), logits.end(), [](float s) { return s == kForbidden; });
}

}  // namespace

void check_grammar(const Vocabulary& vocabulary, const std::string& grammar) {
  make_grammar(vocabulary, grammar);
}

SamplerChain::SamplerChain(const Vocabulary& vocabulary, const SamplingOptions& options,
                           std::span<const Token> prompt, DryFactory* dry, EarlyEnds early)
    : vocabulary_(vocabulary),
      distribution_(options, dry, std::move(early)),
      state_(distribution_.initial()),
      history_(prompt.begin(), prompt.end()),
      grammar_(make_grammar(vocabulary, options.grammar)) {}

Token SamplerChain::choose_from(std::span<float> logits) {
  next_state_ = state_;
  chosen_ = distribution_.choose(logits, history_, next_state_);
  return chosen_;
}

std::optional<Token> SamplerChain::choose(std::span<float> logits) {
  const Token first = choose_from(logits);
  if (first < 0) return std::nullopt;
  if (!grammar_ || is_allowed(first)) return first;
  const std::span<float> allowed = mask(logits);
  if (allowed.empty()) return std::nullopt;
  const Token second = choose_from(allowed);
  if (second < 0) return std::nullopt;
  return second;
}

std::optional<SamplerState> SamplerChain::state() const {
  if (!distribution_.remembers()) return std::nullopt;
  return state_;
}

bool SamplerChain::is_spelled(Token token) const {
  return Utf8State(spelled_).append(vocabulary_.piece(token));
}

bool SamplerChain::is_allowed(Token token) const {
  if (!is_spelled(token)) return false;
  llama_token_data single{token, 1.0F, 0.0F};
  llama_token_data_array array{&single, 1, -1, /*sorted=*/false};
  llama_sampler_apply(grammar_.get(), &array);
  return single.logit != kForbidden;
}

std::span<float> SamplerChain::mask(std::span<const float> logits) {
  std::vector<llama_token_data> data(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    data[i] = {static_cast<Token>(i), logits[i], 0.0F};
  }
  llama_token_data_array array{data.data(), data.size(), -1, /*sorted=*/false};
  llama_sampler_apply(grammar_.get(), &array);
  masked_.resize(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool allowed = data[i].logit != kForbidden && is_spelled(static_cast<Token>(i));
    masked_[i] = allowed ? data[i].logit : kForbidden;
  }
  return nothing_left(masked_) ? std::span<float>{} : std::span<float>(masked_);
}

void SamplerChain::accept(Token token) {
  history_.push_back(token);
  if (token == chosen_) state_ = next_state_;
  chosen_ = -1;
  // An end token ends the text; the grammar would assert if it did not expect the end.
  if (!grammar_ || vocabulary_.is_end(token)) return;
  spelled_.append(vocabulary_.piece(token));
  try {
    llama_sampler_accept(grammar_.get(), token);
  } catch (const std::exception& error) {
    throw DecodeError(
        std::string("[SamplerChain::accept] the grammar refused the token it had allowed; ") +
        error.what());
  }
}

}  // namespace specbranch::llama
