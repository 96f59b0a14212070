#include "windowed_model.h"

#include <filesystem>
#include <string>

#include "random_weights.h"

namespace specbranch::llama::testing {
namespace {

namespace fs = std::filesystem;

void write_gemma2(const std::string& path) {
  const GgufHandle gguf = metadata_of("gemma2", {{"gemma2.block_count", 4},
                                                 {"gemma2.context_length", 2048},
                                                 {"gemma2.embedding_length", 64},
                                                 {"gemma2.feed_forward_length", 128},
                                                 {"gemma2.attention.head_count", 4},
                                                 {"gemma2.attention.head_count_kv", 2},
                                                 {"gemma2.attention.key_length", 16},
                                                 {"gemma2.attention.value_length", 16},
                                                 {"gemma2.attention.sliding_window", kWindow}});
  gguf_set_val_f32(gguf.get(), "gemma2.attention.layer_norm_rms_epsilon", 1e-5F);
  gguf_set_val_f32(gguf.get(), "gemma2.attn_logit_softcapping", 50.0F);
  gguf_set_val_f32(gguf.get(), "gemma2.final_logit_softcapping", 30.0F);
  RandomTensors tensors(gguf.get());
  tensors.add("token_embd.weight", 64, vocabulary_size(gguf), 0.0F, 1.0F);
  tensors.add("output_norm.weight", 64, 0, 1.0F, 0.1F);
  for (int i = 0; i < 4; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"}) {
      tensors.add(block + norm + ".weight", 64, 0, 1.0F, 0.1F);
    }
    tensors.add(block + "attn_q.weight", 64, 64, 0.0F, 0.3F);
    tensors.add(block + "attn_k.weight", 64, 32, 0.0F, 0.3F);
    tensors.add(block + "attn_v.weight", 64, 32, 0.0F, 0.3F);
    tensors.add(block + "attn_output.weight", 64, 64, 0.0F, 0.3F);
    tensors.add(block + "ffn_gate.weight", 64, 128, 0.0F, 0.2F);
    tensors.add(block + "ffn_up.weight", 64, 128, 0.0F, 0.2F);
    tensors.add(block + "ffn_down.weight", 128, 64, 0.0F, 0.2F);
  }
  REQUIRE(gguf_write_to_file(gguf.get(), path.c_str(), /*only_meta=*/false));
}

}  // namespace

Gemma::Gemma() {
  const auto path = temporary_file("specbranch_test_windows.gguf").string();
  write_gemma2(path);
  full = small_options(path);
  full.n_ubatch = 64;
  windows = full;
  windows.swa_full = false;
  weights = Weights::load(full);
  footprint_full = target_footprint(full, {});
  footprint_windows = target_footprint(windows, {});
  fs::remove(path);
}

const Gemma& gemma() {
  static const Gemma model;
  return model;
}

}  // namespace specbranch::llama::testing
