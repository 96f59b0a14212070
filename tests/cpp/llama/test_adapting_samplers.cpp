// Samplers that toss coins or remember what was chosen, against llama.cpp's own.
#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "own_samplers.h"
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
