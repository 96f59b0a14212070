// Two models in two threads, and requests from a third.
#include <atomic>
#include <chrono>
#include <thread>

#include "ggml.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/models/factory.h"
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
      draft->begin(request_of(prompt));
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
  LlamaTarget target(target_weights(), small_options(target_path()), whole);
  const auto truth = generate(target, request, 10);
  int n_aborted = 0;
  for (int i = 0; i < 12; ++i) {
    target.begin(request_of(code_prompt(1)));
    std::thread other([&target, i] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1 + 9 * i));
      target.request_abort();
    });
    try {
      target.begin(request);
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

TEST_CASE("a single token is padded where ggml would compute it differently") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  const bool quantized =
      ggml_is_quantized(static_cast<ggml_type>(target_weights()->file().weight_type));
  const auto pads_at = [&](Pos pos, PadSingle pad) {
    TargetOptions target_options;
    target_options.pad_single = pad;
    return LlamaTarget(target_weights(), options, target_options).pads_single_at(pos);
  };
  CHECK(pads_at(0, PadSingle::kOn));
  CHECK(!pads_at(1000, PadSingle::kOff));
  if (!quantized) return;
  CHECK(!pads_at(1000, PadSingle::kAuto));
  options.n_threads = 2;
  CHECK(!pads_at(255, PadSingle::kAuto));
  CHECK(pads_at(256, PadSingle::kAuto));
  options.type_k = GGML_TYPE_Q8_0;
  options.type_v = GGML_TYPE_Q8_0;
  CHECK(!pads_at(256, PadSingle::kAuto));
}

TEST_CASE("padding changes no logits of a model that needs none") {
  SPECBRANCH_NEEDS_MODELS();
  if (target_weights()->file().quantization != "q8_0") return;
  const auto options = small_options(target_path());
  const Request request = request_of(code_prompt(300));
  LlamaTarget plain(target_weights(), options, {});
  TargetOptions padded_options;
  padded_options.pad_single = PadSingle::kOn;
  LlamaTarget padded(target_weights(), options, padded_options);
  CHECK(generate(plain, request, 30) == generate(padded, request, 30));
  const auto a = plain.logits(0);
  const auto b = padded.logits(0);
  CHECK(std::equal(a.begin(), a.end(), b.begin()));
}

}  // namespace
}  // namespace specbranch::llama
