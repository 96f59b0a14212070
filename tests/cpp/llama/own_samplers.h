/// llama.cpp's own samplers as the reference, and random settings for them.
#pragma once

#include <array>
#include <limits>
#include <map>
#include <random>
#include <type_traits>
#include <vector>

#include "llama.h"
#include "specbranch/llama/runtime/handles.h"
#include "specbranch/llama/vocabulary/vocabulary.h"
#include "specbranch/model/sampling_options.h"

namespace specbranch::llama::testing {

/// The samplers that are functions of the tokens and the text, in llama.cpp's default order. XTC is
/// one of them with probability 0 or 1.
inline constexpr std::array kPlainSamplers = {
    SamplerKind::kPenalties, SamplerKind::kDry,      SamplerKind::kTopNSigma,
    SamplerKind::kTopK,      SamplerKind::kTypicalP, SamplerKind::kTopP,
    SamplerKind::kMinP,      SamplerKind::kXtc,      SamplerKind::kTemperature,
};

/// Of the test's target.
const Vocabulary& vocabulary();

/// One of `values`.
template <class... T>
auto pick(std::mt19937& random, T... values) {
  const std::common_type_t<T...> all[] = {values...};
  return all[random() % sizeof...(values)];
}

/// A row over the whole vocabulary.
std::vector<float> some_logits(std::mt19937& random);

/// A text that repeats itself, as DRY wants it.
std::vector<Token> some_history(std::mt19937& random);

/// Every sampler is on with some value, most of the time.
SamplingOptions some_options(std::mt19937& random);

/// `kPlainSamplers`, shuffled and cut.
std::vector<SamplerKind> some_order(std::mt19937& random);

std::vector<llama_token_data> all_tokens(const std::vector<float>& logits);

/// The tokens that llama.cpp's samplers leave, with their logits; tokens without a chance are left
/// out.
std::map<Token, float> own_result(const std::vector<SamplerKind>& kinds, const SamplingOptions& o,
                                  const std::vector<float>& logits,
                                  const std::vector<Token>& history);

/// The tokens with their probabilities in one of llama.cpp's final samplers, and the index of its
/// choice.
struct OwnDraw {
  std::vector<llama_token_data> kept;
  std::size_t selected = 0;
};

OwnDraw own_draw(llama_sampler* sampler, const std::vector<float>& logits, float temperature);

}  // namespace specbranch::llama::testing
