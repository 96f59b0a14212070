// Two models in two threads, and requests from a third.
#include <atomic>
#include <chrono>
#include <thread>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/factory.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

TEST_CASE("two contexts in two threads do not disturb each other") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(120);
  const auto options = small_options(target_path());
  std::vector<Token> alone;
  {
    LlamaTarget target(target_weights(), options, {});
    alone = generate(target, request_of(prompt), 60);
  }
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done.load()) {
      DraftOptions shape;
      shape.n_seq = 3;
      const auto draft = draft_factory(draft_weights(), small_options(draft_path()), shape)();
      begin(*draft, request_of(prompt));
      for (int i = 0; i < 20 && !done.load(); ++i) {
        const SequenceInput input{i, 0, draft->length(0), {prompt[static_cast<std::size_t>(i)]}};
        draft->draft(std::span(&input, 1), 3);
      }
    }
  });
  std::vector<Token> together;
  {
    LlamaTarget target(target_weights(), options, {});
    together = generate(target, request_of(prompt), 60);
  }
  done.store(true);
  other.join();
  CHECK(together == alone);
}

TEST_CASE("an abort from another thread cuts a forward pass short and loses nothing") {
  SPECBRANCH_NEEDS_MODELS();
  const auto prompt = code_prompt(1000);
  const Request request = request_of(prompt);
  TargetOptions whole;
  whole.prefill_chunk = 512;
  ModelOptions options = small_options(target_path());
  options.cache_ram = 0;
  LlamaTarget target(target_weights(), options, whole);
  const auto truth = generate(target, request, 10);
  int n_aborted = 0;
  for (int i = 0; i < 12; ++i) {
    begin(target, request_of(code_prompt(1)));
    std::thread other([&target, i] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1 + 9 * i));
      target.request_abort();
    });
    try {
      begin(target, request);
    } catch (const Aborted&) {
      ++n_aborted;
      // Whole chunks may stay; half of one must not.
      CHECK(target.length(0) % 512 == 0);
    }
    other.join();
    target.clear_abort();
    if (i % 4 == 0) CHECK(generate(target, request, 10) == truth);
  }
  CHECK(n_aborted > 0);
}

}  // namespace
}  // namespace specbranch::llama
