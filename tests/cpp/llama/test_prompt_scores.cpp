// Scores of a prompt's tokens by llama.cpp, in the chunks in which the prompt is read anyway.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/target.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

/// A row of a chunk and a row of a single token differ by so much at most, and on average. By how
/// much depends on the processor: without AVX-512 a token of probability 0.002 differs by 0.06.
constexpr double kRounding = 0.2;
constexpr double kMeanRounding = 0.02;

std::vector<TokenScore> read_scored(LlamaTarget& target, const Request& request) {
  CHECK(begin(target, request) == 0);
  return target.take_prompt_scores(kSingleSession);
}

Request scored(Request request, int n_top = 2) {
  request.prompt_logprobs = n_top;
  return request;
}

/// The logits after the prompt's last token.
std::vector<float> logits_after(LlamaTarget& target, const Request& request) {
  const Token last = request.prompt.back();
  verify(target, target.length(0), std::span(&last, 1));
  const auto row = target.logits(0);
  return {row.begin(), row.end()};
}

TEST_CASE("the scores of a prompt are those of its tokens one by one, but for rounding") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  const auto prompt = code_prompt(300);
  const auto scores = read_scored(target, scored(request_of(prompt)));
  REQUIRE(scores.size() == 299);
  CHECK(target.take_prompt_scores(kSingleSession).empty());
  double sum = 0.0;
  int n_compared = 0;
  for (std::size_t n = 1; n < 300; ++n) {
    // Batches for scores end at multiples of 63, chunks at multiples of 128.
    if (n % 5 != 0 && (n + 1) % 63 > 2 && (n + 1) % 128 > 2) continue;
    CAPTURE(n);
    const Request before = request_of({prompt.begin(), prompt.begin() + static_cast<int>(n)});
    begin(target, before);
    const TokenScore expected = score_of(logits_after(target, before), prompt[n], 2);
    const TokenScore& got = scores[n - 1];
    CHECK(got.token == prompt[n]);
    const double difference = std::abs(got.logprob - expected.logprob);
    CHECK(difference <= kRounding);
    sum += difference;
    ++n_compared;
    REQUIRE(got.top.size() == 2);
    CHECK(std::abs(got.top[0].logprob - expected.top[0].logprob) <= kRounding);
    CHECK(got.top[0].logprob >= got.top[1].logprob);
    CHECK(got.top[0].logprob >= got.logprob);
  }
  CHECK(sum / n_compared <= kMeanRounding);
}

TEST_CASE("scores leave the cells that a prompt without scores leaves, also in several passes") {
  SPECBRANCH_NEEDS_MODELS();
  const Request plain = request_of(code_prompt(700));
  for (const int chunk : {63, 64, 128, 300}) {
    CAPTURE(chunk);
    TargetOptions options;
    options.prefill_chunk = chunk;
    ModelOptions model = small_options(target_path());
    model.n_batch = model.n_ubatch = 512;
    LlamaTarget target(target_weights(), model, options);
    CHECK(target.context().n_outputs() == 63);  // scores need no memory of their own
    begin(target, plain);
    const auto expected = logits_after(target, plain);
    const auto n_decodes = target.context().n_decodes();
    const auto scores = read_scored(target, scored(plain));
    // Chunks of 300, 300 and 99 tokens: 5, 5 and 2 batches for their scores, and the chunks.
    if (chunk == 300) CHECK(target.context().n_decodes() - n_decodes == 5 + 5 + 2 + 3);
    if (chunk == 63) CHECK(target.context().n_decodes() - n_decodes == 12);
    CHECK(scores.size() == 699);
    for (std::size_t i = 0; i < scores.size(); ++i) CHECK(scores[i].token == plain.prompt[i + 1]);
    CHECK(logits_after(target, plain) == expected);
    // They are the prompt's own, so that the next one reuses them.
    target.truncate({0, target.length(0), 699});
    CHECK(begin(target, plain) == 699);
  }
}

TEST_CASE("the scores of a prompt are the same again, whatever was there before") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  const Request request = scored(request_of(code_prompt(200)));
  const auto first = read_scored(target, request);
  generate(target, request_of(code_prompt(200)), 10);
  const auto second = read_scored(target, request);
  REQUIRE(first.size() == second.size());
  for (std::size_t i = 0; i < first.size(); ++i) CHECK(first[i].logprob == second[i].logprob);
}

TEST_CASE("scoring that is stopped leaves the prompt as it was before the chunk") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  const auto request = std::make_shared<const Request>(scored(request_of(code_prompt(300))));
  const SeqId seq = 0;
  target.open(1, request, std::span(&seq, 1));
  target.prefill(1, 0, 128);
  target.request_abort();
  CHECK_THROWS_AS(target.prefill(1, 128, 256), Aborted);
  CHECK(target.length(0) == 128);
  target.clear_abort();
  target.prefill(1, 128, 256);
  target.prefill(1, 256, 299);
  CHECK(target.take_prompt_scores(1).size() == 299);
}

TEST_CASE("end tokens and stop tokens are not chosen before the least length") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  Request request = request_of(code_prompt(60));
  const Token eos = target_weights()->vocabulary().eos();
  const auto plain = generate(target, request, 12);
  REQUIRE(plain.size() == 12);
  // The text would end at its third token.
  request.stop_tokens = {plain[2]};
  request.sampling.logit_bias = {{eos, 1000.0F}};
  CHECK(generate(target, request, 12) == std::vector<Token>{eos});
  request.min_tokens = 8;
  const auto held = generate(target, request, 12);
  REQUIRE(held.size() == 9);
  CHECK(held.back() == eos);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(held[i] != eos);
    CHECK(held[i] != plain[2]);
  }
  CHECK(generate_with_drafts(target, request, held, 5, 0.7, 1) == held);
}

}  // namespace
}  // namespace specbranch::llama
