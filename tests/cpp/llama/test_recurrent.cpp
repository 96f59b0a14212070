// Models that cannot take tokens back: a Mamba model with random weights, written by the test.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "ggml.h"
#include "gguf.h"
#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;
namespace fs = std::filesystem;

struct GgmlDeleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

/// Adds tensors of random numbers to a GGUF file.
class RandomTensors {
 public:
  explicit RandomTensors(gguf_context* gguf)
      : gguf_(gguf), context_(ggml_init({std::size_t{64} << 20U, nullptr, false})) {}

  void add(const std::string& name, std::int64_t a, std::int64_t b, float mean, float spread) {
    ggml_tensor* tensor = b > 0 ? ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, a, b)
                                : ggml_new_tensor_1d(context_.get(), GGML_TYPE_F32, a);
    ggml_set_name(tensor, name.c_str());
    std::normal_distribution<float> normal(mean, spread);
    auto* data = static_cast<float*>(ggml_get_data(tensor));
    for (std::int64_t i = 0; i < ggml_nelements(tensor); ++i) data[i] = normal(random_);
    gguf_add_tensor(gguf_, tensor);
  }

 private:
  gguf_context* gguf_;
  std::unique_ptr<ggml_context, GgmlDeleter> context_;
  std::mt19937 random_{5};
};

/// Two layers of width 64 with the draft's vocabulary.
void write_mamba(const std::string& path) {
  const GgufHandle source(gguf_init_from_file(draft_path().c_str(), {true, nullptr}));
  const GgufHandle gguf(gguf_init_empty());
  gguf_set_kv(gguf.get(), source.get());
  gguf_set_val_str(gguf.get(), "general.architecture", "mamba");
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, std::uint32_t>>{{"mamba.block_count", 2},
                                                          {"mamba.context_length", 512},
                                                          {"mamba.embedding_length", 64},
                                                          {"mamba.feed_forward_length", 0},
                                                          {"mamba.attention.head_count", 0},
                                                          {"mamba.ssm.conv_kernel", 4},
                                                          {"mamba.ssm.inner_size", 128},
                                                          {"mamba.ssm.state_size", 16},
                                                          {"mamba.ssm.time_step_rank", 4}}) {
    gguf_set_val_u32(gguf.get(), key, value);
  }
  gguf_set_val_f32(gguf.get(), "mamba.attention.layer_norm_rms_epsilon", 1e-5F);
  const auto n_vocab = static_cast<std::int64_t>(
      gguf_get_arr_n(gguf.get(), gguf_find_key(gguf.get(), "tokenizer.ggml.tokens")));
  RandomTensors tensors(gguf.get());
  tensors.add("token_embd.weight", 64, n_vocab, 0.0F, 1.0F);
  tensors.add("output_norm.weight", 64, 0, 1.0F, 0.1F);
  for (int i = 0; i < 2; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    tensors.add(block + "attn_norm.weight", 64, 0, 1.0F, 0.1F);
    tensors.add(block + "ssm_in.weight", 64, 256, 0.0F, 0.2F);
    tensors.add(block + "ssm_conv1d.weight", 4, 128, 0.0F, 0.5F);
    tensors.add(block + "ssm_conv1d.bias", 128, 0, 0.0F, 0.1F);
    tensors.add(block + "ssm_x.weight", 128, 36, 0.0F, 0.1F);
    tensors.add(block + "ssm_dt.weight", 4, 128, 0.0F, 0.3F);
    tensors.add(block + "ssm_dt.bias", 128, 0, 0.0F, 0.1F);
    tensors.add(block + "ssm_a", 16, 128, -1.0F, 0.1F);
    tensors.add(block + "ssm_d", 128, 0, 1.0F, 0.1F);
    tensors.add(block + "ssm_out.weight", 128, 64, 0.0F, 0.3F);
  }
  REQUIRE(gguf_write_to_file(gguf.get(), path.c_str(), /*only_meta=*/false));
}

TEST_CASE("a recurrent model decodes one by one and refuses everything else") {
  SPECBRANCH_NEEDS_MODELS();
  const auto path = (fs::temp_directory_path() / "specbranch_test_mamba.gguf").string();
  write_mamba(path);
  ModelOptions options = small_options(path);
  const auto weights = Weights::load(options);
  fs::remove(path);
  CHECK(!weights->can_roll_back());
  CHECK_THROWS_AS(LlamaDraft(weights, options, {}), IncompatibleModels);

  LlamaTarget target(weights, options, {});
  CHECK(!target.capabilities().can_roll_back);
  CHECK(target.capabilities().max_batch == 1);
  SamplingOptions sampling;
  sampling.temperature = 1.0F;
  const Request request = request_of(code_prompt(200), sampling);
  const auto text = generate(target, request, 20);
  REQUIRE(text.size() == 20);
  CHECK(generate(target, request, 20) == text);

  begin(target, request);
  const std::vector<Token> two{request.prompt.back(), text.front()};
  CHECK_THROWS_AS(verify(target, 199, two), PreconditionError);
  CHECK_THROWS_AS(target.truncate({0, 199, 100}), PreconditionError);
  target.request_abort();
  CHECK(target.length(0) == 199);
  CHECK_THROWS_AS(verify(target, 199, std::span(&request.prompt.back(), 1)), Aborted);
  CHECK(target.length(0) == 0);
  target.clear_abort();
  CHECK(generate(target, request, 20) == text);
}

}  // namespace
}  // namespace specbranch::llama
