#include "recurrent_models.h"

#include <cstdint>
#include <filesystem>

#include "ggml.h"
#include "gguf.h"
#include "random_weights.h"

namespace specbranch::llama::testing {
namespace {

namespace fs = std::filesystem;

void write_mamba(const std::string& path) {
  const GgufHandle gguf = metadata_of("mamba", {{"mamba.block_count", 2},
                                                {"mamba.context_length", 512},
                                                {"mamba.embedding_length", 64},
                                                {"mamba.feed_forward_length", 0},
                                                {"mamba.attention.head_count", 0},
                                                {"mamba.ssm.conv_kernel", 4},
                                                {"mamba.ssm.inner_size", 128},
                                                {"mamba.ssm.state_size", 16},
                                                {"mamba.ssm.time_step_rank", 4}});
  gguf_set_val_f32(gguf.get(), "mamba.attention.layer_norm_rms_epsilon", 1e-5F);
  const std::int64_t n_vocab = vocabulary_size(gguf);
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

}  // namespace

void write_lfm2(const std::string& path) {
  const GgufHandle gguf = metadata_of("lfm2", {{"lfm2.block_count", 4},
                                               {"lfm2.context_length", 512},
                                               {"lfm2.embedding_length", 64},
                                               {"lfm2.feed_forward_length", 128},
                                               {"lfm2.attention.head_count", 4},
                                               {"lfm2.shortconv.l_cache", 3}});
  const std::int32_t n_kv_heads[] = {0, 2, 0, 2};  // 0: a convolution
  gguf_set_arr_data(gguf.get(), "lfm2.attention.head_count_kv", GGUF_TYPE_INT32, n_kv_heads, 4);
  gguf_set_val_f32(gguf.get(), "lfm2.attention.layer_norm_rms_epsilon", 1e-5F);
  gguf_set_val_f32(gguf.get(), "lfm2.rope.freq_base", 10000.0F);
  const std::int64_t n_vocab = vocabulary_size(gguf);
  gguf_set_val_u32(gguf.get(), "lfm2.vocab_size", static_cast<std::uint32_t>(n_vocab));
  RandomTensors tensors(gguf.get());
  tensors.add("token_embd.weight", 64, n_vocab, 0.0F, 1.0F);
  tensors.add("token_embd_norm.weight", 64, 0, 1.0F, 0.1F);
  for (int i = 0; i < 4; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    tensors.add(block + "attn_norm.weight", 64, 0, 1.0F, 0.1F);
    tensors.add(block + "ffn_norm.weight", 64, 0, 1.0F, 0.1F);
    tensors.add(block + "ffn_gate.weight", 64, 128, 0.0F, 0.2F);
    tensors.add(block + "ffn_up.weight", 64, 128, 0.0F, 0.2F);
    tensors.add(block + "ffn_down.weight", 128, 64, 0.0F, 0.2F);
    if (n_kv_heads[i] == 0) {
      tensors.add(block + "shortconv.conv.weight", 3, 64, 0.0F, 0.6F);
      tensors.add(block + "shortconv.in_proj.weight", 64, 192, 0.0F, 0.2F);
      tensors.add(block + "shortconv.out_proj.weight", 64, 64, 0.0F, 0.3F);
    } else {
      tensors.add(block + "attn_q.weight", 64, 64, 0.0F, 0.2F);
      tensors.add(block + "attn_k.weight", 64, 32, 0.0F, 0.2F);
      tensors.add(block + "attn_v.weight", 64, 32, 0.0F, 0.2F);
      tensors.add(block + "attn_output.weight", 64, 64, 0.0F, 0.2F);
      tensors.add(block + "attn_q_norm.weight", 16, 0, 1.0F, 0.1F);
      tensors.add(block + "attn_k_norm.weight", 16, 0, 1.0F, 0.1F);
    }
  }
  REQUIRE(gguf_write_to_file(gguf.get(), path.c_str(), /*only_meta=*/false));
}

Written::Written(void (*write)(const std::string& path)) {
  const auto path = temporary_file("specbranch_test_recurrent.gguf").string();
  write(path);
  options = small_options(path);
  options.n_ctx = 512;
  footprint = target_footprint(options, {});
  weights = Weights::load(options);
  fs::remove(path);
}

Lfm2::Lfm2() : Written(write_lfm2) {}

Mamba::Mamba() : Written(write_mamba) {}

}  // namespace specbranch::llama::testing
