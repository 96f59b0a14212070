// A real draft whose KV cache fills up: the text is that of the target alone.
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/simulation/virtual_run.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

TEST_CASE("a draft whose cache is full costs no token of the text, nor the next text its draft") {
  SPECBRANCH_NEEDS_MODELS();
  Request request = request_of(code_prompt(220));
  request.max_tokens = 30;
  request.max_draft = 16;
  request.max_branches = 8;
  request.policy.kind = PolicyOptions::Kind::kFixed;
  request.policy.gamma = 12;
  LlamaTarget target(target_weights(), small_options(target_path()), {.max_batch = 34});
  request.mode = Mode::kAutoregressive;
  const VirtualResult plain = run_virtually(request, target, nullptr);
  REQUIRE(plain.tokens.size() > 20);

  // Room for the text, but for hardly any branch.
  ModelOptions narrow = small_options(draft_path());
  narrow.n_ctx = 255;
  LlamaDraft draft(draft_weights(), narrow, {.n_seq = 16, .reserve = 1});
  request.mode = Mode::kSpecBranch;
  const VirtualResult failing = run_virtually(request, target, &draft);
  CHECK(failing.tokens == plain.tokens);
  CHECK(failing.finish == plain.finish);
  REQUIRE(failing.draft_error);
  CHECK_FALSE(is_fatal(failing.draft_error));
  CHECK(failing.mode_reason.find("the draft failed: ") == 0);
  CHECK(failing.mode_reason.find("the KV cache is full") != std::string::npos);
  // A chain finds room: the failed branches have left no cells behind.
  request.mode = Mode::kSpeculative;
  request.policy.gamma = 2;
  const VirtualResult next = run_virtually(request, target, &draft);
  CHECK(next.tokens == plain.tokens);
  CHECK_FALSE(next.draft_error);
  CHECK(next.counters.n_accepted > 0);
}

}  // namespace
}  // namespace specbranch::llama
