// Checkpoints of recurrent states at the borders of a prompt's chunks.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "recurrent_models.h"
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
  LlamaDraft draft(lfm2.weights, small, {.n_seq = 4});
  const std::vector<std::vector<SeqId>> seqs{{0, 1}, {2, 3}};
  std::vector<std::vector<Token>> prompts;
  for (const Token first : {5, 6}) {  // of 70 and 86 tokens: their last borders are not the same
    prompts.push_back(code_prompt(first == 5 ? 70 : 86));
    prompts.back().front() = first;
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const auto request = std::make_shared<const Request>(request_of(prompts[i]));
    CHECK(draft.open(i + 1, request, seqs[i]) == 0);
  }
  for (Pos begin = 0; begin < 80; begin += 16) {
    if (begin < 64) draft.prefill(1, begin, begin + 16);
    draft.prefill(2, begin, begin + 16);
  }
  draft.prefill(1, 64, 69);
  draft.prefill(2, 80, 85);
  for (const GenerationId id : {1U, 2U}) draft.close(id, /*forget=*/false);
  for (std::size_t i = 0; i < 2; ++i) {
    auto other = prompts[i];
    other.resize(other.size() - 4);  // no continuation: the states of its sequence are of no use
    const auto request = std::make_shared<const Request>(request_of(other));
    CHECK(draft.open(i + 3, request, seqs[i]) == (i == 0 ? 64 : 80));
  }
}

}  // namespace
}  // namespace specbranch::llama
