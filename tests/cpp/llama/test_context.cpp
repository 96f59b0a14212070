#include "specbranch/llama/context/context.h"

#include <algorithm>
#include <atomic>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/factory.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/memory.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

TEST_CASE("a context that memory cannot hold is refused before it is allocated") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  options.n_ctx = 1 << 30;
  CHECK_THROWS_WITH_AS(LlamaTarget(target_weights(), options, {}),
                       doctest::Contains("does not fit into memory"), ModelLoadError);
  CHECK(available_memory().value_or(0) > 0);
}

TEST_CASE("shapes that llama.cpp would abort on are refused") {
  SPECBRANCH_NEEDS_MODELS();
  const std::atomic<bool> abort{false};
  auto options = small_options(draft_path());
  const auto create = [&](ContextShape shape) {
    return LlamaContext(draft_weights(), options, shape, &abort).n_outputs();
  };
  CHECK_THROWS_AS(create({0, 256, 1}), InvalidArgument);
  CHECK_THROWS_AS(create({257, 256, 1}), InvalidArgument);
  CHECK_THROWS_AS(create({1, 0, 1}), InvalidArgument);
  CHECK(create({16, 256, 1}) == 16);
  options.n_batch = 8;
  CHECK_THROWS_AS(create({16, 256, 1}), InvalidArgument);
  options = small_options(draft_path());
  options.cpus = {1023};
  CHECK_THROWS_AS(create({1, 256, 1}), InvalidArgument);
}

TEST_CASE("an abort that was asked for is no error in the log") {
  SPECBRANCH_NEEDS_MODELS();
  std::atomic<bool> abort{false};
  LlamaContext context(draft_weights(), small_options(draft_path()), {2, 256, 2}, &abort);
  const std::vector<BatchToken> batch = {{1, 0, 0, false}, {2, 0, 1, true}};
  set_log_level(LogLevel::kDebug);
  drain_log_lines();
  abort = true;
  CHECK_THROWS_AS(context.decode(batch), Aborted);
  const auto lines = drain_log_lines();
  CHECK(std::ranges::count(lines, LogLevel::kError, &LogLine::level) == 0);
  CHECK(std::ranges::count(lines, LogLevel::kDebug, &LogLine::level) > 0);
  set_log_level(LogLevel::kInfo);
}

TEST_CASE("logits are only handed out where they were asked for") {
  SPECBRANCH_NEEDS_MODELS();
  const std::atomic<bool> abort{false};
  LlamaContext context(draft_weights(), small_options(draft_path()), {2, 256, 2}, &abort);
  const std::vector<BatchToken> batch = {{1, 0, 0, false}, {2, 0, 1, true}, {3, 1, 0, true}};
  context.decode(batch);
  CHECK_THROWS_AS(context.logits(0), PreconditionError);
  CHECK_THROWS_AS(context.logits(3), PreconditionError);
  CHECK_THROWS_AS(context.logits(-1), PreconditionError);
  CHECK(context.logits(1).size() == static_cast<std::size_t>(draft_weights()->vocabulary().size()));
  CHECK(context.logits(1).data() != context.logits(2).data());
  const std::vector<BatchToken> many = {{1, 0, 2, true}, {2, 0, 3, true}, {3, 1, 1, true}};
  CHECK_THROWS_AS(context.decode(many), PreconditionError);
  context.clear();
  CHECK(context.length(0) == 0);
  CHECK(context.length(1) == 0);
}

TEST_CASE("the factories make working models of one set of weights") {
  SPECBRANCH_NEEDS_MODELS();
  const auto options = small_options(target_path());
  const auto target = target_factory(target_weights(), options)();
  DraftOptions draft_options;
  draft_options.n_seq = 3;
  const auto draft = draft_factory(target_weights(), options, draft_options)();
  CHECK(target->capabilities().n_ctx == 1024);
  CHECK(target->capabilities().can_roll_back());
  CHECK(draft->capabilities().n_seq == 3);
  const Request request = request_of(code_prompt(40));
  CHECK(begin(*target, request) == 0);
  CHECK(begin(*draft, request) == 0);
  // A perfect draft: the same model proposes what the target chooses.
  std::vector<Token> path{request.prompt.back()};
  for (int i = 0; i < 6; ++i) {
    const SequenceInput input{i, 0, draft->length(0), {path.back()}};
    path.push_back(draft->draft(std::span(&input, 1), 1).front().front().token);
  }
  const Verification verification = verify(*target, 39, path);
  REQUIRE(verification.choices.size() == 7);
  for (std::size_t i = 0; i < 6; ++i) CHECK(verification.choices[i].token == path[i + 1]);
}

}  // namespace
}  // namespace specbranch::llama
