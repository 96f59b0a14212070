#include "specbranch/llama/models/footprint.h"

#include <ggml.h>

#include <atomic>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/memory.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

void check_equal(const MemoryShare& found, const MemoryShare& expected) {
  CHECK(found.device == expected.device);
  CHECK(found.weights == expected.weights);
  CHECK(found.repacked == expected.repacked);
  CHECK(found.context == expected.context);
  CHECK(found.compute == expected.compute);
  CHECK(found.outputs == expected.outputs);
}

TEST_CASE("a footprint is what llama.cpp then allocates") {
  SPECBRANCH_NEEDS_MODELS();
  ModelOptions options = small_options(target_path());
  options.use_mmap = false;
  for (const int n_ctx : {512, 4096}) {
    for (const int type : {GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0}) {
      options.n_ctx = n_ctx;
      options.type_k = type;
      options.type_v = type;
      const Footprint before = target_footprint(options, {});
      const LlamaTarget target(Weights::load(options), options, {});
      const Footprint after = footprint_of(target.context());
      check_equal(before.host, after.host);
      CHECK(before.devices.size() == after.devices.size());
      CHECK(before.n_layers == target.context().weights().file().n_layers + 1);
      CHECK(before.host.context > 0);
      CHECK(before.host.weights + before.host.repacked >= target_weights()->file().weight_bytes);
    }
  }
}

TEST_CASE("the footprint of a draft has room for its branches") {
  SPECBRANCH_NEEDS_MODELS();
  ModelOptions options = small_options(draft_path());
  options.use_mmap = false;
  options.flash_attn = FlashAttention::kOff;
  DraftOptions branches;
  branches.n_seq = 16;
  branches.reserve = 640;
  const Footprint few = draft_footprint(options, {});
  const Footprint many = draft_footprint(options, branches);
  CHECK(many.host.context > few.host.context);
  CHECK(many.host.outputs == 2 * few.host.outputs);
  const LlamaDraft draft(Weights::load(options), options, branches);
  check_equal(many.host, footprint_of(draft.context()).host);
}

TEST_CASE("a footprint grows with the context") {
  SPECBRANCH_NEEDS_MODELS();
  ModelOptions options = small_options(target_path());
  options.n_ctx = 1 << 20;
  const Footprint large = target_footprint(options, {});
  options.n_ctx = 1 << 10;
  const Footprint small = target_footprint(options, {});
  CHECK(large.host.context > 1000 * (small.host.context / 2));
  CHECK(large.host.weights == small.host.weights);
}

TEST_CASE("what was only laid out decodes nothing") {
  SPECBRANCH_NEEDS_MODELS();
  const ModelOptions options = small_options(target_path());
  const auto weights = Weights::outline(options);
  CHECK(weights->is_outline());
  CHECK(weights->vocabulary().size() == target_weights()->vocabulary().size());
  const std::atomic<bool> abort{false};
  LlamaContext context(weights, options, {.n_seq = 1, .n_cells = 256, .n_outputs = 1}, &abort);
  CHECK_THROWS_WITH_AS(context.decode(std::vector<BatchToken>{{1, 0, 0, true}}),
                       doctest::Contains("was laid out, but not loaded"), PreconditionError);
  CHECK(context.length(0) == 0);
}

TEST_CASE("what cannot be laid out is refused like what cannot be loaded") {
  SPECBRANCH_NEEDS_MODELS();
  ModelOptions options = small_options(target_path());
  options.n_ctx = 1 << 30;
  if (available_memory().value_or(~std::uint64_t{0}) < std::uint64_t{60} << 30U) {
    CHECK_THROWS_WITH_AS(target_footprint(options, {}),
                         doctest::Contains("does not fit into memory"), ModelLoadError);
  }
  options = small_options(target_path() + ".missing");
  CHECK_THROWS_WITH_AS(target_footprint(options, {}), doctest::Contains("there is no such file"),
                       ModelLoadError);
  options = small_options(target_path());
  options.n_batch = 0;
  CHECK_THROWS_AS(target_footprint(options, {}), InvalidArgument);
}

}  // namespace
}  // namespace specbranch::llama
