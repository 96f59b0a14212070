#include "specbranch/llama/models/target.h"

#include <algorithm>
#include <limits>

#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

SamplingOptions sampling_of(float temperature, std::uint64_t seed) {
  SamplingOptions sampling;
  sampling.temperature = temperature;
  sampling.seed = seed;
  return sampling;
}

bool starts_with(const std::vector<Token>& text, const std::vector<Token>& truth) {
  return text.size() >= truth.size() && std::equal(truth.begin(), truth.end(), text.begin());
}

TEST_CASE("verifying drafts gives the tokens of decoding one by one") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  std::vector<SamplingOptions> settings = {sampling_of(0.0F, 0), sampling_of(1.0F, 1),
                                           sampling_of(0.7F, 2)};
  settings.push_back(sampling_of(0.8F, 3));
  settings.back().top_k = 40;
  settings.back().top_p = 0.9F;
  settings.back().min_p = 0.05F;
  settings.push_back(sampling_of(1.2F, 4));
  settings.back().top_p = 0.95F;
  settings.back().repeat_penalty = 1.3F;
  settings.back().frequency_penalty = 0.2F;
  settings.push_back(sampling_of(0.0F, 5));
  settings.back().repeat_penalty = 1.2F;
  settings.back().presence_penalty = 0.5F;
  settings.back().logit_bias = {{10, 3.0F}, {11, -2.0F}};
  settings.push_back(sampling_of(0.9F, 6));
  settings.back().grammar = "root ::= [a-z_ (),:\\n]+";
  for (std::size_t i = 0; i < settings.size(); ++i) {
    CAPTURE(i);
    const Request request = request_of(code_prompt(150), settings[i]);
    const auto truth = generate(target, request, 120);
    REQUIRE(truth.size() > 10);
    for (const double hit_rate : {0.0, 0.6, 1.0}) {
      CAPTURE(hit_rate);
      const auto text =
          generate_with_drafts(target, request, truth, 7, hit_rate, static_cast<unsigned>(i));
      CHECK(starts_with(text, truth));
    }
  }
}

TEST_CASE("the first choice after a prompt is the argmax of its logits") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  Request request = request_of(code_prompt(20));
  request.logprobs = 3;
  begin(target, request);
  CHECK(target.length(0) == 19);
  const Verification verification = verify(target, 19, std::span(&request.prompt.back(), 1));
  REQUIRE(verification.choices.size() == 1);
  const Choice& choice = verification.choices.front();
  REQUIRE(choice.top.size() == 3);
  CHECK(choice.top[0].token == choice.token);
  CHECK(choice.top[0].logprob == doctest::Approx(choice.logprob));
  CHECK(choice.top[0].logprob >= choice.top[1].logprob);
  CHECK(choice.logprob < 0.0F);
}

TEST_CASE("reusing a prefix gives the logits of a fresh prefill") {
  SPECBRANCH_NEEDS_MODELS();
  const auto weights = target_weights();
  const auto options = small_options(target_path());
  const auto prompt = code_prompt(460);
  const auto first = std::vector<Token>(prompt.begin(), prompt.begin() + 300);

  LlamaTarget reusing(weights, options, {});
  const auto generated = generate(reusing, request_of(first), 60);
  // The next turn of a chat: the old text, what was generated, and more.
  auto next = first;
  next.insert(next.end(), generated.begin(), generated.end());
  next.insert(next.end(), prompt.begin() + 300, prompt.end());

  LlamaTarget fresh(weights, options, {});
  const Request request = request_of(next);
  CHECK(begin(fresh, request) == 0);
  CHECK(begin(reusing, request) == 256);
  const auto a = verify(fresh, fresh.length(0), std::span(&next.back(), 1));
  const auto b = verify(reusing, reusing.length(0), std::span(&next.back(), 1));
  CHECK(a.choices.front().token == b.choices.front().token);
  const auto x = fresh.logits(0);
  const auto y = reusing.logits(0);
  CHECK(std::equal(x.begin(), x.end(), y.begin()));

  SUBCASE("the same prompt again reuses all of it") {
    CHECK(begin(reusing, request) == static_cast<int>(next.size()) - 1);
    verify(reusing, reusing.length(0), std::span(&next.back(), 1));
    const auto z = reusing.logits(0);
    CHECK(std::equal(x.begin(), x.end(), z.begin()));
  }
  SUBCASE("fast reuse keeps everything, no reuse nothing") {
    LlamaTarget fast(weights, options, {.prefix_reuse = PrefixReuse::kFast});
    generate(fast, request_of(first), 60);
    CHECK(begin(fast, request) >= 300);
    LlamaTarget off(weights, options, {.prefix_reuse = PrefixReuse::kOff});
    begin(off, request);
    CHECK(begin(off, request) == 0);
  }
}

TEST_CASE("an abort leaves the state as it was") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  const Request request = request_of(code_prompt(140));
  const auto truth = generate(target, request, 20);

  target.request_abort();
  CHECK_THROWS_AS(begin(target, request_of(code_prompt(500))), Aborted);
  target.clear_abort();
  begin(target, request);
  std::vector<Token> path{request.prompt.back()};
  path.insert(path.end(), truth.begin(), truth.begin() + 6);
  const Pos before = target.length(0);
  target.request_abort();
  CHECK_THROWS_AS(verify(target, before, path), Aborted);
  CHECK(target.length(0) == before);
  target.clear_abort();
  const Verification verification = verify(target, before, path);
  REQUIRE(verification.choices.size() == 7);
  for (std::size_t i = 0; i < 7; ++i) CHECK(verification.choices[i].token == truth[i]);
}

TEST_CASE("broken preconditions of the target are refused and change nothing") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  options.n_ctx = 256;
  LlamaTarget target(target_weights(), options, {});
  const Token token = 5;
  CHECK_THROWS_AS(verify(target, 0, std::span(&token, 1)), PreconditionError);
  const auto prompt = code_prompt(250);
  const Request request = request_of(prompt);
  begin(target, request);
  const Token wrong = prompt.back() + 1;
  CHECK_THROWS_AS(verify(target, 249, std::span(&wrong, 1)), PreconditionError);
  CHECK_THROWS_AS(verify(target, 248, std::span(&prompt.back(), 1)), PreconditionError);
  CHECK_THROWS_AS(verify(target, 249, {}), PreconditionError);
  const std::vector<Token> beyond(8, prompt.back());
  CHECK_THROWS_AS(verify(target, 249, beyond), PreconditionError);
  CHECK_THROWS_AS(target.truncate({0, 250, 10}), PreconditionError);
  CHECK_THROWS_AS(target.truncate({0, 249, 250}), PreconditionError);
  CHECK_THROWS_AS(target.truncate({7, 0, 0}), PreconditionError);
  CHECK(target.length(0) == 249);
  CHECK(verify(target, 249, std::span(&prompt.back(), 1)).choices.size() == 1);
  CHECK_THROWS_AS(begin(target, request_of(code_prompt(257))), ContextOverflow);
  CHECK_THROWS_AS(begin(target, request_of({})), InvalidArgument);
}

TEST_CASE("a grammar is obeyed, and ends the text when nothing is allowed") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  const auto& vocabulary = target_weights()->vocabulary();
  for (const float temperature : {0.0F, 1.0F}) {
    SamplingOptions sampling = sampling_of(temperature, 9);
    sampling.grammar = "root ::= \"x = \" [0-9]+ \";\"";
    // Forbids the end, so that after `;` nothing is left.
    for (Token token = 0; token < vocabulary.size(); ++token) {
      if (vocabulary.is_end(token)) {
        sampling.logit_bias[token] = -std::numeric_limits<float>::infinity();
      }
    }
    sampling.logit_bias[vocabulary.tokenize(";", false, false).front()] = 5.0F;
    const Request request = request_of(code_prompt(30), sampling);
    const auto text = vocabulary.detokenize(generate(target, request, 100));
    CAPTURE(text);
    CHECK(text.substr(0, 4) == "x = ");
    CHECK(text.find_first_not_of("0123456789;", 4) == std::string::npos);
  }
}

}  // namespace
}  // namespace specbranch::llama
