// Samplers that toss coins or remember what was chosen, against llama.cpp's own.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "own_samplers.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/sampling/sampler.h"
#include "specbranch/llama/sampling/sampler_chain.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr float kInf = std::numeric_limits<float>::infinity();

KeptTokens kept_of(const std::vector<float>& logits, float temperature) {
  KeptTokens kept;
  kept.items = all_tokens(logits);
  for (llama_token_data& item : kept.items) item.logit /= temperature;
  return kept;
}

TEST_CASE("mirostat leaves the tokens of llama.cpp's along a text, with the same probabilities") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(11);
  const std::vector<Token> history{1};
  for (const int version : {1, 2}) {
    for (const float tau : {0.5F, 3.0F, 5.0F, 12.0F}) {
      for (const float temperature : {0.7F, 1.0F}) {
        if (version == 1 && tau > 10.0F) continue;  // all tokens, always
        CAPTURE(version);
        CAPTURE(tau);
        SamplingOptions options;
        options.mirostat = version;
        options.mirostat_tau = tau;
        options.mirostat_eta = 0.3F;
        const SamplerHandle own(
            version == 1 ? llama_sampler_init_mirostat(vocabulary().size(), 5, tau, 0.3F, 100)
                         : llama_sampler_init_mirostat_v2(5, tau, 0.3F));
        const auto ours = make_mirostat(options);
        SamplerState state = initial_state(options);
        std::set<std::size_t> sizes;
        for (int step = 0; step < 30; ++step) {
          CAPTURE(step);
          const auto logits = some_logits(random);
          const OwnDraw draw = own_draw(own.get(), logits, temperature);
          KeptTokens kept = kept_of(logits, temperature);
          const ChoicePoint point{history, PositionNoise(1, step), state};
          ours->apply(kept, point);
          // llama.cpp converts a number of tokens beyond an int to 1; it means all tokens.
          if (kept.items.size() == logits.size() && draw.kept.size() == 1) break;
          REQUIRE(kept.items.size() == draw.kept.size());
          sizes.insert(kept.items.size());
          std::map<Token, float> expected;
          for (const llama_token_data& item : draw.kept) expected[item.id] = item.p;
          std::size_t index = 0;
          for (std::size_t i = 0; i < kept.items.size(); ++i) {
            REQUIRE(kept.items[i].p ==
                    doctest::Approx(expected.at(kept.items[i].id)).epsilon(1e-5));
            if (kept.items[i].id == draw.kept[draw.selected].id) index = i;
          }
          state = ours->after(kept, index, point);
        }
        CHECK(sizes.size() > 1);  // mu moves
      }
    }
  }
}

TEST_CASE("adaptive-p has the probabilities of llama.cpp's along a text") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(13);
  const std::vector<Token> history{1};
  for (const float target : {0.0F, 0.3F, 1.0F}) {
    for (const float decay : {0.0F, 0.9F, 0.99F}) {
      SamplingOptions options;
      options.adaptive_target = target;
      options.adaptive_decay = decay;
      const SamplerHandle own(llama_sampler_init_adaptive_p(target, decay, 3));
      const auto ours = make_adaptive_p(options);
      SamplerState state = initial_state(options);
      for (int step = 0; step < 30; ++step) {
        CAPTURE(step);
        const auto logits = some_logits(random);
        const OwnDraw draw = own_draw(own.get(), logits, 1.0F);
        const Token chosen = draw.kept[draw.selected].id;
        llama_sampler_accept(own.get(), chosen);
        KeptTokens kept = kept_of(logits, 1.0F);
        const ChoicePoint point{history, PositionNoise(1, step), state};
        ours->apply(kept, point);
        state = ours->after(kept, static_cast<std::size_t>(chosen), point);
        set_probabilities(kept);
        REQUIRE(kept.items.size() == draw.kept.size());
        for (std::size_t i = 0; i < kept.items.size(); ++i) {
          REQUIRE(kept.items[i].p == draw.kept[i].p);
        }
      }
    }
  }
}

/// Chi-square of the counts of `chosen` against llama.cpp's probabilities; rare tokens together.
double chi_square(const std::map<Token, int>& counts, const std::map<Token, double>& expected,
                  int n, int* freedom) {
  double sum = 0.0;
  double rare = 0.0;
  int n_rare = n;
  *freedom = -1;
  for (const auto& [token, p] : expected) {
    if (p * n < 10.0) {
      rare += p * n;
      continue;
    }
    const auto found = counts.find(token);
    const int count = found == counts.end() ? 0 : found->second;
    n_rare -= count;
    sum += std::pow(count - p * n, 2) / (p * n);
    ++*freedom;
  }
  if (rare >= 10.0) {
    sum += std::pow(n_rare - rare, 2) / rare;
    ++*freedom;
  }
  return sum;
}

TEST_CASE("choices follow the distribution of llama.cpp's samplers, also with XTC's coin") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(17);
  std::vector<float> logits(static_cast<std::size_t>(vocabulary().size()), -20.0F);
  for (std::size_t i = 0; i < 12; ++i) logits[i] = 3.0F - 0.4F * static_cast<float>(i);
  constexpr int kSamples = 20000;
  for (int run = 0; run < 12; ++run) {
    CAPTURE(run);
    SamplingOptions options;
    options.temperature = run % 2 == 0 ? 1.0F : 0.8F;
    options.xtc_probability = run % 3 == 0 ? 0.0F : 0.4F;
    options.xtc_threshold = 0.1F;
    if (run == 4) options.typical_p = 0.7F;
    if (run == 5) options.top_n_sigma = 3.0F;
    if (run == 6) options.dynatemp_range = 0.5F;
    if (run == 7) options.mirostat = 1;
    if (run == 8) options.mirostat = 2;
    if (run == 9) options.adaptive_target = 0.2F;
    if (run == 10) options.min_keep = 11;
    if (options.mirostat > 0) options.mirostat_tau = 1.5F;
    const std::vector<Token> history{1, 2, 3};
    // With and without XTC's action: the mixture is the distribution.
    std::map<Token, double> expected;
    for (const bool acts : {false, true}) {
      SamplingOptions fixed = options;
      fixed.xtc_probability = acts ? 1.0F : 0.0F;
      const double weight = acts ? static_cast<double>(options.xtc_probability)
                                 : 1.0 - static_cast<double>(options.xtc_probability);
      std::map<Token, float> kept;
      if (options.mirostat > 0 || options.adaptive_target >= 0.0F) {
        const SamplerHandle own(
            options.mirostat == 1
                ? llama_sampler_init_mirostat(vocabulary().size(), 1, 1.5F, 0.1F, 100)
            : options.mirostat == 2 ? llama_sampler_init_mirostat_v2(1, 1.5F, 0.1F)
                                    : llama_sampler_init_adaptive_p(0.2F, 0.9F, 1));
        std::vector<float> left(logits.size(), -kInf);
        if (options.mirostat > 0) {
          left = logits;
          for (float& logit : left) logit /= options.temperature;
        } else {
          const std::vector<SamplerKind> before(kPlainSamplers.begin(), kPlainSamplers.end());
          for (const auto& [token, logit] : own_result(before, fixed, logits, history)) {
            left[static_cast<std::size_t>(token)] = logit;
          }
        }
        for (const llama_token_data& item : own_draw(own.get(), left, 1.0F).kept) {
          if (item.p > 0.0F) kept[item.id] = std::log(item.p);
        }
      } else {
        const std::vector<SamplerKind> order(kPlainSamplers.begin(), kPlainSamplers.end());
        kept = own_result(order, fixed, logits, history);
      }
      double sum = 0.0;
      for (const auto& [token, logit] : kept) sum += std::exp(static_cast<double>(logit));
      for (const auto& [token, logit] : kept) {
        expected[token] += weight * std::exp(static_cast<double>(logit)) / sum;
      }
    }
    std::map<Token, int> counts;
    for (int i = 0; i < kSamples; ++i) {
      options.seed = random();
      const TokenDistribution distribution(options);
      SamplerState state = distribution.initial();
      const Token token = distribution.choose(logits, history, state);
      CHECK(expected.contains(token));
      ++counts[token];
    }
    int freedom = 0;
    const double found = chi_square(counts, expected, kSamples, &freedom);
    CAPTURE(freedom);
    REQUIRE(freedom > 0);
    CHECK(found < freedom + 4.0 * std::sqrt(2.0 * freedom) + 6.0);
  }
}

TEST_CASE("samplers remember tokens of the text only") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(19);
  for (const int kind : {0, 1, 2}) {
    SamplingOptions options;
    options.temperature = 1.0F;
    options.mirostat = kind;
    if (kind == 0) options.adaptive_target = 0.4F;
    options.mirostat_eta = 1.0F;
    options.mirostat_tau = 2.0F;
    options.seed = 5;
    const std::vector<Token> prompt{1};
    SamplerChain once(vocabulary(), options, prompt);
    SamplerChain often(vocabulary(), options, prompt);
    SamplerChain other(vocabulary(), options, prompt);
    int n_other = 0;
    for (int step = 0; step < 60; ++step) {
      std::vector<float> logits = some_logits(random);
      std::vector<float> wrong = some_logits(random);
      static_cast<void>(often.choose(wrong));  // a row whose choice nobody accepts
      static_cast<void>(often.choose(wrong));
      const auto token = once.choose(logits);
      CHECK(often.choose(logits) == token);
      n_other += other.choose(logits) != token ? 1 : 0;
      once.accept(token.value());
      often.accept(token.value());
      static_cast<void>(other.choose(wrong));  // remembers another row
      other.accept(token.value());
    }
    CHECK(n_other > 0);  // the memory matters
  }
}

TEST_CASE("a draft with the target's logits and memory proposes the target's choice first") {
  SPECBRANCH_NEEDS_MODELS();
  std::mt19937 random(41);
  for (const int kind : {0, 1, 2}) {
    SamplingOptions options;
    options.temperature = 1.0F;
    options.mirostat = kind;
    if (kind == 0) options.adaptive_target = 0.4F;
    options.mirostat_eta = 1.0F;
    options.mirostat_tau = 2.0F;
    options.seed = 9;
    const TokenDistribution distribution(options);
    CHECK(distribution.remembers());
    SamplerState state = distribution.initial();
    std::vector<Token> history{1};
    int n_other = 0;
    for (int step = 0; step < 60; ++step) {
      std::vector<float> logits = some_logits(random);
      const auto ranked = distribution.rank(logits, history, RankOptions(2).with(state));
      const auto without = distribution.rank(logits, history, 2);
      const Token token = distribution.choose(logits, history, state);
      CHECK(ranked.front().token == token);
      n_other += without.front().token != token ? 1 : 0;
      history.push_back(token);
    }
    CHECK(n_other > 0);  // the memory matters
  }
}

TEST_CASE("a verification says what the samplers remember after its last choice") {
  SPECBRANCH_NEEDS_MODELS();
  for (const int mirostat : {0, 2}) {
    SamplingOptions options;
    options.temperature = 1.0F;
    options.mirostat = mirostat;
    const auto prompt = code_prompt(20);
    LlamaTarget target(target_weights(), small_options(target_path()), {});
    begin(target, request_of(prompt, options));
    const std::vector<Token> path{prompt.back(), 5, 6};
    const auto state = verify(target, target.length(0), path).sampler_state;
    REQUIRE(state.has_value() == (mirostat == 2));
    if (state) CHECK(state->mirostat_mu != 2.0F * options.mirostat_tau);
  }
}

TEST_CASE("a grammar's second choice is the one that samplers remember") {
  SPECBRANCH_NEEDS_MODELS();
  SamplingOptions options;
  options.temperature = 1.0F;
  options.mirostat = 2;
  options.mirostat_eta = 0.5F;
  options.grammar = "root ::= [a-z]*";
  const std::vector<Token> prompt{1};
  const TokenDistribution plain(options);
  SamplerState state = plain.initial();
  SamplerChain chain(vocabulary(), options, prompt);
  std::mt19937 random(23);
  std::vector<Token> history = prompt;
  int n_second = 0;
  for (int step = 0; step < 20; ++step) {
    std::vector<float> logits = some_logits(random);
    const auto token = chain.choose(logits);
    REQUIRE(token.has_value());
    if (vocabulary().is_end(*token)) break;
    SamplerState first = state;
    if (plain.choose(logits, history, first) == *token) {
      state = first;
    } else {
      ++n_second;
      for (std::size_t i = 0; i < logits.size(); ++i) {
        const std::string& piece = vocabulary().piece(static_cast<Token>(i));
        const bool fits = std::ranges::all_of(piece, [](char c) { return c >= 'a' && c <= 'z'; });
        const bool end = vocabulary().is_end(static_cast<Token>(i));
        if (!end && (!fits || piece.empty())) logits[i] = -kInf;
      }
      CHECK(plain.choose(logits, history, state) == *token);
    }
    chain.accept(*token);
    history.push_back(*token);
  }
  CHECK(n_second > 0);
}

}  // namespace
}  // namespace specbranch::llama
