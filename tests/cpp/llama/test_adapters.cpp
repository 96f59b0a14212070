// LoRA adapters on the target: what acts on which cells.
#include <ggml.h>
#include <gguf.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/llama/file/adapter_file.h"
#include "specbranch/llama/file/gguf_reader.h"
#include "specbranch/llama/models/footprint.h"
#include "specbranch/llama/models/target.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr int kRank = 4;

/// A file that is removed at the end of a test.
class AdapterOfTest {
 public:
  /// Random matrices for all attention outputs of the test's target.
  explicit AdapterOfTest(unsigned seed)
      : path_(std::filesystem::temp_directory_path() /
              ("specbranch_adapter_" + std::to_string(getpid()) + "_" + std::to_string(seed))) {
    const GgufReader model(target_path());
    const std::unique_ptr<gguf_context, decltype(&gguf_free)> file(gguf_init_empty(), gguf_free);
    gguf_set_val_str(file.get(), "general.architecture",
                     model.text("general.architecture").value().c_str());
    gguf_set_val_str(file.get(), "general.type", "adapter");
    gguf_set_val_str(file.get(), "adapter.type", "lora");
    gguf_set_val_f32(file.get(), "adapter.lora.alpha", kRank);
    const std::unique_ptr<ggml_context, decltype(&ggml_free)> tensors(
        ggml_init({std::size_t{64} << 20U, nullptr, false}), ggml_free);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0F, 0.1F);
    for (std::int64_t i = 0; i < gguf_get_n_tensors(model.get()); ++i) {
      const std::string name = gguf_get_tensor_name(model.get(), i);
      if (name.find("attn_output.weight") == std::string::npos) continue;
      const std::int64_t* shape = gguf_get_tensor_ne(model.get(), i);
      for (const auto& [end, n_columns, n_rows] :
           {std::tuple(".lora_a", shape[0], std::int64_t{kRank}),
            std::tuple(".lora_b", std::int64_t{kRank}, shape[1])}) {
        ggml_tensor* tensor = ggml_new_tensor_2d(tensors.get(), GGML_TYPE_F32, n_columns, n_rows);
        ggml_set_name(tensor, (name + end).c_str());
        auto* values = static_cast<float*>(tensor->data);
        for (std::int64_t k = 0; k < n_columns * n_rows; ++k) values[k] = normal(random);
        gguf_add_tensor(file.get(), tensor);
      }
    }
    REQUIRE(gguf_write_to_file(file.get(), path_.c_str(), /*only_meta=*/false));
  }
  ~AdapterOfTest() { std::filesystem::remove(path_); }
  AdapterOfTest(const AdapterOfTest&) = delete;
  AdapterOfTest& operator=(const AdapterOfTest&) = delete;

  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::shared_ptr<const Request> request_with(const std::vector<Token>& prompt,
                                            std::vector<AdapterScale> adapters) {
  Request request = request_of(prompt);
  request.adapters = std::move(adapters);
  return std::make_shared<const Request>(std::move(request));
}

/// The next token of each text, one session after the other.
Token step(LlamaTarget& target, GenerationId id, SeqId seq, Token last) {
  const Segment segment = path_segment(id, seq, target.length(seq), std::span(&last, 1));
  const auto results = target.verify(std::span(&segment, 1), 0);
  REQUIRE(!results.front().error);
  return results.front().verification.choices.front().token;
}

TEST_CASE("sessions with different adapters take turns in one context") {
  SPECBRANCH_NEEDS_MODELS();
  const AdapterOfTest first(1);
  const AdapterOfTest second(2);
  ModelOptions options = small_options(target_path());
  options.adapters = {{first.path(), 1.0F}, {second.path(), 0.0F}};
  const auto weights = Weights::load(options);
  REQUIRE(weights->adapters().size() == 2);
  const auto prompt = code_prompt(200);
  const std::vector<std::vector<AdapterScale>> sets{{{0, 1.0F}}, {{1, 1.0F}}, {}};
  constexpr std::size_t kTokens = 20;
  std::vector<std::vector<Token>> alone;
  for (const auto& set : sets) {
    LlamaTarget target(weights, options, {});
    alone.push_back(generate(target, *request_with(prompt, set), kTokens));
    REQUIRE(alone.back().size() == kTokens);
  }
  CHECK(alone[0] != alone[1]);
  CHECK(alone[0] != alone[2]);
  CHECK(alone[1] != alone[2]);
  {
    LlamaTarget target(weights, options, {});
    CHECK(target.capabilities().n_adapters == 2);
    CHECK(generate(target, request_of(prompt), kTokens) == alone[0]);  // as it was loaded
  }

  LlamaTarget target(weights, options, {.n_seq = 3});
  std::vector<Token> last(3, prompt.back());
  for (SeqId seq = 0; seq < 3; ++seq) {
    const auto request = request_with(prompt, sets[static_cast<std::size_t>(seq)]);
    CHECK(begin(target, static_cast<GenerationId>(seq) + 1, request, std::span(&seq, 1)) == 0);
  }
  // Cells lie elsewhere than alone, so that the texts may part at near-ties; none does here.
  for (std::size_t k = 0; k < kTokens; ++k) {
    for (SeqId seq = 0; seq < 3; ++seq) {
      Token& token = last[static_cast<std::size_t>(seq)];
      token = step(target, static_cast<GenerationId>(seq) + 1, seq, token);
      CHECK(token == alone[static_cast<std::size_t>(seq)][k]);
    }
  }
  const std::vector<Segment> mixed{path_segment(1, 0, target.length(0), std::span(last).first(1)),
                                   path_segment(2, 1, target.length(1), std::span(&last[1], 1))};
  CHECK_THROWS_WITH_AS(static_cast<void>(target.verify(mixed, 0)),
                       doctest::Contains("the sessions have different adapters"),
                       PreconditionError);
}

TEST_CASE("cells of other adapters are never reused") {
  SPECBRANCH_NEEDS_MODELS();
  const AdapterOfTest adapter(3);
  ModelOptions options = small_options(target_path());
  options.adapters = {{adapter.path(), 1.0F}};
  const auto weights = Weights::load(options);
  const auto prompt = code_prompt(300);
  using Settings = std::pair<PrefixReuse, int>;
  for (const auto& [reuse, cache_ram] :
       {Settings{PrefixReuse::kExact, 0}, {PrefixReuse::kFast, 0}, {PrefixReuse::kExact, 9}}) {
    options.cache_ram = cache_ram;
    const int n_copied = cache_ram > 0 ? 299 : 0;  // what the sequence held before is copied
    LlamaTarget target(weights, options, {.prefix_reuse = reuse});
    const SeqId seq = 0;
    const auto reused = [&](std::vector<AdapterScale> set) {
      return begin(target, 1, request_with(prompt, std::move(set)), std::span(&seq, 1));
    };
    CHECK(reused({}) == 0);
    CHECK(reused({}) == 299);
    CHECK(reused({{0, 0.0F}}) == 299);
    CHECK(reused({{0, 1.0F}}) == 0);
    CHECK(reused({{0, 1.0F}}) == 299);
    CHECK(reused({{0, 0.5F}}) == 0);
    CHECK(reused({}) == n_copied);
    // A prompt that is only opened empties the sequence, too.
    target.open(1, request_with(prompt, {{0, 0.25F}}), std::span(&seq, 1));
    CHECK(target.length(0) == 0);
    CHECK(reused({}) == n_copied);
  }
}

TEST_CASE("a context knows the adapters of its weights and no others") {
  SPECBRANCH_NEEDS_MODELS();
  const AdapterOfTest adapter(4);
  ModelOptions options = small_options(target_path());
  options.adapters = {{adapter.path(), 1.0F}};
  const std::atomic<bool> abort{false};
  LlamaContext context(Weights::load(options), options,
                       {.n_seq = 1, .n_cells = 256, .n_outputs = 1}, &abort);
  for (const int index : {-1, 1}) {
    CHECK_THROWS_AS(context.use_adapters({{index, 1.0F}}), PreconditionError);
  }
  const std::vector<BatchToken> batch{{1, 0, 0, true}};
  std::vector<std::vector<float>> rows;
  for (const AdapterSet& set : {AdapterSet{}, AdapterSet{{0, 1.0F}}, AdapterSet{}}) {
    context.use_adapters(set);
    context.decode(batch);
    const auto row = context.logits(0);
    rows.emplace_back(row.begin(), row.end());
    context.clear();
  }
  CHECK(rows[0] != rows[1]);
  CHECK(rows[0] == rows[2]);
}

TEST_CASE("a footprint counts adapters, which a model without weights has, too") {
  SPECBRANCH_NEEDS_MODELS();
  const AdapterOfTest adapter(5);
  ModelOptions options = small_options(target_path());
  const Footprint plain = target_footprint(options, {});
  CHECK(plain.host.adapters == 0);
  options.adapters = {{adapter.path(), 1.0F}, {adapter.path(), 0.0F}};
  const Footprint before = target_footprint(options, {});
  const auto weights = Weights::load(options);
  CHECK(before.host.adapters == 2 * weights->adapters().front().file.n_bytes);
  CHECK(before.host.adapters > 0);
  CHECK(before.host.total() >= plain.host.total() + before.host.adapters);

  // What a pass with adapters then takes.
  LlamaTarget target(weights, options, {});
  generate(target, *request_with(code_prompt(200), {{0, 1.0F}, {1, 1.0F}}), 4);
  const Footprint after = footprint_of(target.context());
  CHECK(after.host.adapters == before.host.adapters);
  CHECK(after.host.compute <= before.host.compute);
}

TEST_CASE("an adapter tells what it changes") {
  SPECBRANCH_NEEDS_MODELS();
  const AdapterOfTest adapter(6);
  const AdapterFile file = inspect_adapter_file(adapter.path(), target_weights()->file());
  CHECK(file.rank == kRank);
  CHECK(file.alpha == kRank);
  CHECK(file.n_matrices == target_weights()->file().n_layers);
  CHECK(file.n_product == target_weights()->file().n_embd);
  CHECK(file.n_output_product == 0);
  CHECK_THROWS_WITH_AS(inspect_adapter_file(target_path(), target_weights()->file()),
                       doctest::Contains("this is not a LoRA adapter"), ModelLoadError);
  CHECK_THROWS_WITH_AS(inspect_adapter_file(adapter.path(), draft_weights()->file()),
                       doctest::Contains("the adapter does not fit the model"), ModelLoadError);
}

TEST_CASE("a text that an adapter makes infinite spoils no other") {
  SPECBRANCH_NEEDS_MODELS();
  const AdapterOfTest adapter(1);
  ModelOptions options = small_options(target_path());
  options.adapters = {{adapter.path(), 0.0F}};
  options.cache_ram = 100;
  const auto weights = Weights::load(options);
  const auto huge = request_with(code_prompt(300), {{0, 1e38F}});
  const std::vector<Token> prompt = code_prompt(100);
  const auto clean = request_with(prompt, {});
  LlamaTarget fresh(weights, options, {});
  const std::vector<Token> expected = generate(fresh, *clean, 10);
  const SeqId seq = 0;
  const SeqId second = 1;
  for (const bool is_verified : {false, true}) {
    CAPTURE(is_verified);
    LlamaTarget target(weights, options, {.n_seq = 2});
    begin(target, 1, huge, std::span(&seq, 1));
    begin(target, 2, clean, std::span(&second, 1));
    if (is_verified) {
      const Segment segment = path_segment(1, 0, 299, std::span(huge->prompt).last(1));
      const SegmentResult result = target.verify(std::span(&segment, 1), 0).front();
      CHECK(is_error<NonFiniteScores>(result.error));
    }
    target.close(1, /*forget=*/false);
    CHECK(target.length(0) == 0);
    CHECK(target.length(1) == 99);  // it runs
    target.close(2, /*forget=*/false);
    CHECK(target.length(1) == 0);  // nobody has seen scores of its cells
    CHECK(begin(target, 3, clean, std::span(&seq, 1)) == 0);
    CHECK(target.cache()->texts().empty());
    target.close(3, /*forget=*/false);
    CHECK(generate(target, *clean, 10) == expected);
  }
}

TEST_CASE("a prompt that was left half way is kept, whatever its adapters") {
  SPECBRANCH_NEEDS_MODELS();
  const AdapterOfTest adapter(1);
  ModelOptions options = small_options(target_path());
  options.adapters = {{adapter.path(), 0.0F}};
  const auto weights = Weights::load(options);
  const std::vector<Token> prompt = code_prompt(300);
  const auto request = request_with(prompt, {{0, 1.0F}});
  LlamaTarget fresh(weights, options, {});
  const std::vector<Token> expected = generate(fresh, *request, 10);
  LlamaTarget target(weights, options, {});
  const SeqId seq = 0;
  target.open(1, request, std::span(&seq, 1));
  const int chunk = target.capabilities().prefill_chunk;
  target.prefill(1, 0, chunk);
  target.close(1, /*forget=*/false);
  CHECK(target.length(0) == chunk);
  CHECK(target.open(2, request, std::span(&seq, 1)) == chunk);
  target.close(2, /*forget=*/false);
  CHECK(generate(target, *request, 10) == expected);
}

}  // namespace
}  // namespace specbranch::llama
