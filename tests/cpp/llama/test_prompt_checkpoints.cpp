// Checkpoints of recurrent states at the borders of a prompt's chunks.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "recurrent_models.h"
#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

TEST_CASE("a prompt goes on from a checkpoint of the one before, as if it was read anew") {
  SPECBRANCH_NEEDS_MODELS();
  const Mamba mamba;
  const Lfm2 lfm2;
  for (const auto& [weights, options] :
       {std::pair(mamba.weights, mamba.options), std::pair(lfm2.weights, lfm2.options)}) {
    LlamaTarget target(weights, options, {.prefill_chunk = 16});
    const auto prompt = code_prompt(70);
    CHECK(begin(target, request_of(prompt)) == 0);
    generate(target, request_of(prompt), 10);
    // The same prompt again; a longer one; one that parts from it after 50 tokens.
    CHECK(begin(target, request_of(prompt)) == 64);
    auto other = prompt;
    other.insert(other.end(), {5, 6, 7, 8});
    CHECK(begin(target, request_of(other)) == 64);
    other.resize(50);
    other.insert(other.end(), 40, 9);
    CHECK(begin(target, request_of(other)) == 0);
    auto third = prompt;
    third.resize(50);
    third.insert(third.end(), 40, 11);
    CHECK(begin(target, request_of(third)) == 48);
    const Token last = third.back();
    verify(target, 89, std::span(&last, 1));
    const auto row = target.logits(0);
    const std::vector<float> reused(row.begin(), row.end());
    LlamaTarget fresh(weights, options, {.prefill_chunk = 16});
    CHECK(begin(fresh, request_of(third)) == 0);
    verify(fresh, 89, std::span(&last, 1));
    const auto expected = fresh.logits(0);
    CHECK(std::equal(expected.begin(), expected.end(), reused.begin()));  // bit by bit

    LlamaTarget off(weights, options, {.prefix_reuse = PrefixReuse::kOff, .prefill_chunk = 16});
    begin(off, request_of(prompt));
    CHECK(begin(off, request_of(prompt)) == 0);

    ModelOptions small = options;
    small.n_batch = small.n_ubatch = 16;
    LlamaDraft draft(weights, small, {.n_seq = 3});
    CHECK(begin(draft, request_of(prompt)) == 0);
    CHECK(begin(draft, request_of(prompt)) == 69);  // nothing came after it
    other = prompt;
    other.resize(66);
    CHECK(begin(draft, request_of(other)) == 64);
  }
}

TEST_CASE("a checkpoint is of no use where its cells were generated since") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 model;
  LlamaTarget target(model.weights, model.options, {.prefill_chunk = 16});
  const auto first = code_prompt(40);
  const auto answer = generate(target, request_of(first), 40);
  REQUIRE(answer.size() == 40);
  auto second = first;
  second.insert(second.end(), answer.begin(), answer.end());
  second.insert(second.end(), {5, 6, 7, 8});
  CHECK(begin(target, request_of(second)) == 32);
  // The first turn again, then the second one.
  CHECK(generate(target, request_of(first), 40) == answer);
  CHECK(begin(target, request_of(second)) == 32);
  LlamaTarget fresh(model.weights, model.options, {.prefill_chunk = 16});
  begin(fresh, request_of(second));
  const Token last = second.back();
  verify(target, 83, std::span(&last, 1));
  verify(fresh, 83, std::span(&last, 1));
  const auto row = target.logits(0);
  const auto expected = fresh.logits(0);
  CHECK(std::equal(expected.begin(), expected.end(), row.begin()));  // bit by bit
}

TEST_CASE("prompts that a draft reads in turns each keep their checkpoints") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 lfm2;
  ModelOptions small = lfm2.options;
  small.n_batch = small.n_ubatch = 16;
  constexpr std::size_t kTexts = 5;
  LlamaDraft draft(lfm2.weights, small, {.n_seq = 10, .n_texts = 5});
  std::vector<std::vector<Token>> prompts;
  for (std::size_t i = 0; i < kTexts; ++i) {  // their last borders are not the same
    prompts.push_back(code_prompt(i % 2 == 0 ? 70 : 86));
    prompts.back().front() = static_cast<Token>(5 + i);
    const auto request = std::make_shared<const Request>(request_of(prompts.back()));
    const auto seq = static_cast<SeqId>(2 * i);
    CHECK(draft.open(i + 1, request, std::vector<SeqId>{seq, seq + 1}) == 0);
  }
  for (Pos begin = 0; begin < 86; begin += 16) {
    for (std::size_t i = 0; i < kTexts; ++i) {
      const auto end = static_cast<Pos>(prompts[i].size()) - 1;
      if (begin < end) draft.prefill(i + 1, begin, std::min(begin + 16, end));
    }
  }
  for (std::size_t i = 0; i < kTexts; ++i) draft.close(i + 1, /*forget=*/false);
  for (std::size_t i = 0; i < kTexts; ++i) {
    auto other = prompts[i];
    other.resize(other.size() - 4);  // no continuation: the states of its sequence are of no use
    const auto request = std::make_shared<const Request>(request_of(other));
    const auto seq = static_cast<SeqId>(2 * i);
    CHECK(draft.open(kTexts + i + 1, request, std::vector<SeqId>{seq, seq + 1}) ==
          (i % 2 == 0 ? 64 : 80));
  }
}

TEST_CASE("a draft goes on from what the sessions of other texts have read") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 lfm2;
  ModelOptions small = lfm2.options;
  small.n_batch = small.n_ubatch = 16;
  const auto first = code_prompt(70);
  const auto read = [&](LlamaDraft& draft, GenerationId id, const std::vector<Token>& prompt) {
    const auto seq = static_cast<SeqId>(2 * (id - 1));
    return begin(draft, id, std::make_shared<const Request>(request_of(prompt)),
                 std::vector<SeqId>{seq, seq + 1});
  };
  const auto candidates = [](LlamaDraft& draft, GenerationId id, const std::vector<Token>& prompt) {
    const auto seq = static_cast<SeqId>(2 * (id - 1));
    const SequenceInput input{kNoNode, seq, draft.length(seq), {prompt.back()}, id};
    std::vector<Token> tokens;
    const RankOptions rank(5);
    const auto answers = draft.draft(std::span(&input, 1), std::span(&rank, 1));
    for (const Candidate& one : answers.front()) tokens.push_back(one.token);
    return tokens;
  };
  LlamaDraft draft(lfm2.weights, small, {.n_seq = 6, .n_texts = 3});
  auto second = first;
  second.resize(50);
  auto third = second;
  second.insert(second.end(), 30, 9);
  third.insert(third.end(), 30, 11);
  CHECK(read(draft, 1, first) == 0);
  CHECK(read(draft, 2, second) == 0);  // there is no state where they part, yet
  CHECK(read(draft, 3, third) == 48);
  LlamaDraft fresh(lfm2.weights, small, {.n_seq = 2});
  read(fresh, 1, third);
  CHECK(candidates(draft, 3, third) == candidates(fresh, 1, third));
  CHECK(draft.length(0) == 69);
  LlamaDraft other(lfm2.weights, small, {.n_seq = 2});
  read(other, 1, first);
  CHECK(candidates(draft, 1, first) == candidates(other, 1, first));
}

TEST_CASE("a checkpoint serves every sequence with its tokens and its adapters, and no other one") {
  SPECBRANCH_NEEDS_MODELS();
  const Lfm2 lfm2;
  const std::atomic<bool> abort{false};
  LlamaContext context(lfm2.weights, lfm2.options, {.n_seq = 2, .n_cells = 256, .n_outputs = 2},
                       &abort);
  PromptCheckpoints checkpoints(context, 16, 1);
  const auto prompt = code_prompt(40);
  const AdapterSet adapted{{0, 0.5F}};
  const auto read = [&](SeqId seq, Pos begin, Pos end) {
    std::vector<BatchToken> batch;
    for (Pos pos = begin; pos < end; ++pos) {
      batch.push_back({prompt[static_cast<std::size_t>(pos)], seq, pos});
    }
    context.decode(batch);
    checkpoints.passed(seq);
  };
  CHECK(checkpoints.begin(0, 0, prompt, 0, adapted) == 0);
  for (Pos begin = 0; begin < 32; begin += 16) read(0, begin, begin + 16);
  CHECK(checkpoints.begin(1, 1, prompt, 0) == 0);
  for (Pos begin = 0; begin < 32; begin += 16) read(1, begin, begin + 16);
  read(0, 32, 40);
  read(1, 32, 40);
  // Each has left a state of 32 tokens.
  CHECK(checkpoints.begin(0, 0, prompt, 40, adapted) == 32);
  CHECK(checkpoints.begin(1, 1, prompt, 40) == 32);
  CHECK(checkpoints.begin(1, 1, prompt, 40, {{0, 0.25F}}) == 0);
  CHECK(checkpoints.begin(1, 1, prompt, 31) == 0);  // its cells of attention layers are others
  CHECK_THROWS_AS(checkpoints.restore(1, 16), PreconditionError);
  checkpoints.begin(1, 0, prompt, 40, adapted);  // what another sequence has read serves, too
  checkpoints.restore(1, 32);
  CHECK(context.length(1) == 32);
}

TEST_CASE("the footprint of a recurrent model counts its checkpoints") {
  SPECBRANCH_NEEDS_MODELS();
  const Mamba mamba;
  const Lfm2 lfm2;
  for (const Written* model :
       {static_cast<const Written*>(&mamba), static_cast<const Written*>(&lfm2)}) {
    const std::atomic<bool> abort{false};
    LlamaContext context(model->weights, model->options,
                         {.n_seq = 1, .n_cells = 256, .n_outputs = 1}, &abort);
    std::vector<BatchToken> batch;
    for (Pos pos = 0; pos < 64; ++pos) batch.push_back({static_cast<Token>(5 + pos), 0, pos});
    context.decode(batch);
    const std::uint64_t n_saved = context.save_state(0).size();
    const std::uint64_t n_counted = model->footprint.host.checkpoints / PromptCheckpoints::most(1);
    CHECK(n_saved >= n_counted);  // without what describes it
    CHECK(n_saved <= n_counted + 512);
    CHECK(n_counted > 1000);
  }
}

}  // namespace
}  // namespace specbranch::llama
