#include "specbranch/llama/sampling/sampler_chain.h"

#include <algorithm>
#include <limits>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/sampling/logit_adjustments.h"
#include "specbranch/llama/sampling/truncation.h"

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

SamplerHandle make_sorted_cut(const SamplingOptions& options) {
  SamplerHandle chain(llama_sampler_chain_init({/*no_perf=*/true}));
  if (options.top_k > 0 && options.top_p < 1.0F) {
    llama_sampler_chain_add(chain.get(), llama_sampler_init_top_p(options.top_p, /*min_keep=*/1));
  }
  if (options.min_p > 0.0F) {
    llama_sampler_chain_add(chain.get(), llama_sampler_init_min_p(options.min_p, /*min_keep=*/1));
  }
  return chain;
}

bool nothing_left(std::span<const float> logits) {
  return std::all_of(logits.begin(), logits.end(), [](float s) { return s == kForbidden; });
}

}  // namespace

void check_grammar(const Vocabulary& vocabulary, const std::string& grammar) {
  make_grammar(vocabulary, grammar);
}

SamplerChain::SamplerChain(const Vocabulary& vocabulary, const SamplingOptions& options,
                           std::span<const Token> prompt)
    : vocabulary_(vocabulary),
      options_(options),
      history_(prompt.begin(), prompt.end()),
      sorted_cut_(make_sorted_cut(options)),
      grammar_(make_grammar(vocabulary, options.grammar)) {}

std::optional<Token> SamplerChain::choose(std::span<float> logits) {
  require_numbers(logits);
  std::optional<PositionNoise> noise;
  if (options_.temperature > 0.0F) {
    noise.emplace(options_.seed, static_cast<Pos>(history_.size()));
  }
  const PositionNoise* key = noise ? &*noise : nullptr;
  const Token first = choose_without_grammar(logits, key);
  if (first < 0) return std::nullopt;
  if (!grammar_ || is_allowed(first)) return first;
  const std::span<float> allowed = mask(logits);
  if (allowed.empty()) return std::nullopt;
  const Token second = choose_without_grammar(allowed, key);
  if (second < 0) return std::nullopt;
  return second;
}

Token SamplerChain::choose_without_grammar(std::span<float> logits,
                                           const PositionNoise* noise) const {
  const LogitAdjustments adjustments(logits, options_, history_);
  // top-k, top-p and min-p always keep the most probable token.
  if (noise == nullptr) return choose_dense(logits, nullptr);
  const bool truncated = options_.top_k > 0 || options_.top_p < 1.0F || options_.min_p > 0.0F;
  if (truncated) {
    const std::vector<Scored> kept = truncate(logits);
    const auto index = specbranch::choose(kept, noise);
    return index < 0 ? -1 : kept[static_cast<std::size_t>(index)].token;
  }
  if (options_.temperature == 1.0F) return choose_dense(logits, noise);
  scaled_.resize(logits.size());
  std::transform(logits.begin(), logits.end(), scaled_.begin(),
                 [t = options_.temperature](float logit) { return logit / t; });
  return choose_dense(scaled_, noise);
}

std::vector<Scored> SamplerChain::candidates(std::span<float> logits) const {
  const LogitAdjustments adjustments(logits, options_, history_);
  return truncate(logits);
}

std::vector<Scored> SamplerChain::truncate(std::span<const float> logits) const {
  if (nothing_left(logits)) return {};
  std::vector<Scored> kept;
  bool sorted = true;
  if (options_.top_k > 0) {
    kept = top_scores(logits, options_.top_k);
  } else if (options_.top_p < 1.0F) {
    kept = keep_top_p(logits, options_.top_p);
  } else if (options_.min_p > 0.0F) {
    kept = keep_min_p(logits, options_.min_p);
    sorted = false;
  } else {
    kept.reserve(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      kept.push_back({static_cast<Token>(i), logits[i]});
    }
    sorted = false;
  }
  if (sorted && llama_sampler_chain_n(sorted_cut_.get()) > 0) {
    std::vector<llama_token_data> data;
    data.reserve(kept.size());
    for (const auto& [token, logit] : kept) data.push_back({token, logit, 0.0F});
    llama_token_data_array array{data.data(), data.size(), -1, /*sorted=*/true};
    llama_sampler_apply(sorted_cut_.get(), &array);
    kept.resize(array.size);
  }
  for (Scored& item : kept) item.score /= options_.temperature;
  return kept;
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
