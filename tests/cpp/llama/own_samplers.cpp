#include "own_samplers.h"

#include <algorithm>
#include <span>
#include <string>

#include "specbranch/base/errors.h"
#include "support.h"

namespace specbranch::llama::testing {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// llama.cpp's sampler takes -1 for 0, and leaves it to the caller to give the context's size.
constexpr int kWholeText = 4096;

/// llama.cpp's own sampler. XTC with probability 1 or 0 needs no random number.
llama_sampler* own_sampler(SamplerKind kind, const SamplingOptions& o) {
  const auto min_keep = static_cast<std::size_t>(o.min_keep);
  std::vector<const char*> breakers;
  for (const std::string& breaker : o.dry_sequence_breakers) breakers.push_back(breaker.c_str());
  switch (kind) {
    case SamplerKind::kPenalties:
      return llama_sampler_init_penalties(
          vocabulary().size(), o.repeat_last_n < 0 ? kWholeText : o.repeat_last_n, o.repeat_penalty,
          o.frequency_penalty, o.presence_penalty);
    case SamplerKind::kDry:
      return llama_sampler_init_dry(vocabulary().get(), o.dry_multiplier, o.dry_base,
                                    o.dry_allowed_length, o.dry_penalty_last_n, breakers.data(),
                                    breakers.size());
    case SamplerKind::kTopNSigma:
      return llama_sampler_init_top_n_sigma(o.top_n_sigma);
    case SamplerKind::kTopK:
      return llama_sampler_init_top_k(o.top_k);
    case SamplerKind::kTypicalP:
      return llama_sampler_init_typical(o.typical_p, min_keep);
    case SamplerKind::kTopP:
      return llama_sampler_init_top_p(o.top_p, min_keep);
    case SamplerKind::kMinP:
      return llama_sampler_init_min_p(o.min_p, min_keep);
    case SamplerKind::kXtc:
      return llama_sampler_init_xtc(o.xtc_probability, o.xtc_threshold, min_keep, 1);
    case SamplerKind::kTemperature:
      return llama_sampler_init_temp_ext(o.temperature, o.dynatemp_range, o.dynatemp_exponent);
    case SamplerKind::kInfill:
      return llama_sampler_init_infill(vocabulary().get());
    case SamplerKind::kAdaptiveP:
      break;
  }
  throw PreconditionError("not a sampler of this test");
}

/// llama.cpp's typical-p takes tokens without a probability for any others.
void drop_impossible(llama_token_data_array& array) {
  const std::span items(array.data, array.size);
  const float top = std::ranges::max(items, {}, &llama_token_data::logit).logit;
  const auto end = std::stable_partition(
      items.begin(), items.end(), [top](const auto& item) { return item.logit - top >= -87.0F; });
  array.size = static_cast<std::size_t>(end - items.begin());
}

}  // namespace

const Vocabulary& vocabulary() { return target_weights()->vocabulary(); }

std::vector<llama_token_data> all_tokens(const std::vector<float>& logits) {
  std::vector<llama_token_data> data;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    data.push_back({static_cast<Token>(i), logits[i], 0.0F});
  }
  return data;
}

std::map<Token, float> own_result(const std::vector<SamplerKind>& kinds, const SamplingOptions& o,
                                  const std::vector<float>& logits,
                                  const std::vector<Token>& history) {
  std::vector<llama_token_data> data = all_tokens(logits);
  llama_token_data_array array{data.data(), data.size(), -1, false};
  for (const SamplerKind kind : kinds) {
    const SamplerHandle sampler(own_sampler(kind, o));
    for (const Token token : history) llama_sampler_accept(sampler.get(), token);
    if (kind == SamplerKind::kTypicalP) drop_impossible(array);
    llama_sampler_apply(sampler.get(), &array);
  }
  std::map<Token, float> kept;
  for (std::size_t i = 0; i < array.size; ++i) {
    if (array.data[i].logit != kNever) kept[array.data[i].id] = array.data[i].logit;
  }
  return kept;
}

std::vector<float> some_logits(std::mt19937& random) {
  const float spread = std::array{0.1F, 0.8F, 2.0F, 4.0F}[random() % 4];
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> logits(static_cast<std::size_t>(vocabulary().size()));
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<Token> some_history(std::mt19937& random) {
  std::vector<Token> unit(2 + random() % 12);
  for (Token& token : unit) token = static_cast<Token>(random() % 200);
  std::vector<Token> history;
  while (history.size() < 10 + random() % 150) {
    history.insert(history.end(), unit.begin(), unit.end());
    if (random() % 3 == 0) history.push_back(static_cast<Token>(random() % 200));
  }
  return history;
}

SamplingOptions some_options(std::mt19937& random) {
  SamplingOptions o;
  o.temperature = pick(random, 0.3F, 0.7F, 1.0F, 1.4F);
  o.dynatemp_range = pick(random, 0.0F, 0.0F, 0.2F, 0.6F);
  o.dynatemp_exponent = pick(random, 0.5F, 1.0F, 2.0F);
  o.top_k = pick(random, 1, 5, 40, 200, 5000);
  o.top_p = pick(random, 0.1F, 0.9F, 0.99F);
  o.min_p = pick(random, 0.01F, 0.1F, 0.5F);
  o.typical_p = pick(random, 0.2F, 0.8F, 0.95F);
  o.top_n_sigma = pick(random, 0.5F, 1.0F, 2.5F);
  o.min_keep = pick(random, 0, 0, 1, 3, 50);
  o.xtc_probability = pick(random, 0.0F, 1.0F);
  o.xtc_threshold = pick(random, 0.001F, 0.01F, 0.05F, 0.3F);
  o.repeat_last_n = pick(random, 0, 5, 64, 200);
  o.repeat_penalty = pick(random, 0.8F, 1.1F, 1.5F);
  o.presence_penalty = pick(random, 0.0F, 0.7F, -0.5F);
  o.frequency_penalty = pick(random, 0.0F, 0.3F);
  o.dry_multiplier = pick(random, 0.3F, 0.8F, 5.0F);
  o.dry_base = pick(random, 1.0F, 1.2F, 1.75F);
  o.dry_allowed_length = pick(random, 0, 1, 2, 4);
  o.dry_penalty_last_n = pick(random, 0, 16, 64, 200);
  if (random() % 2 == 0) o.dry_sequence_breakers = {"\n", "self", "é"};
  return o;
}

std::vector<SamplerKind> some_order(std::mt19937& random) {
  std::vector<SamplerKind> order(kPlainSamplers.begin(), kPlainSamplers.end());
  std::ranges::shuffle(order, random);
  order.resize(1 + random() % order.size());
  return order;
}

OwnDraw own_draw(llama_sampler* sampler, const std::vector<float>& logits, float temperature) {
  OwnDraw draw;
  draw.kept = all_tokens(logits);
  for (llama_token_data& item : draw.kept) item.logit /= temperature;
  llama_token_data_array array{draw.kept.data(), draw.kept.size(), -1, false};
  llama_sampler_apply(sampler, &array);
  draw.kept.resize(array.size);
  draw.selected = static_cast<std::size_t>(array.selected);
  return draw;
}

}  // namespace specbranch::llama::testing
