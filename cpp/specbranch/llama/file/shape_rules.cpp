#include "specbranch/llama/file/shape_rules.h"

#include <cstdint>
#include <string>
#include <string_view>

#include "gguf.h"
#include "llama.h"
#include "specbranch/llama/file/attention_rules.h"
#include "specbranch/llama/file/expert_rules.h"
#include "specbranch/llama/file/recurrent_rules.h"

namespace specbranch::llama {
namespace {

/// Buffers of ggml begin at multiples of this, and so must tensors that are mapped from a file.
constexpr std::int64_t kTensorAlignment = 32;

void check_alignment(const GgufReader& gguf) {
  const auto alignment = gguf.integer("general.alignment");
  if (!alignment || (*alignment > 0 && *alignment % kTensorAlignment == 0)) return;
  gguf.refuse("general.alignment is " + std::to_string(*alignment) + ", not a multiple of " +
              std::to_string(kTensorAlignment));
}

/// llama.cpp compares the width with other settings before it looks at tensors.
void check_width(const FileFacts& facts) {
  const std::string embedding = "token_embd.weight";
  const auto width = facts.n_columns(embedding);
  if (!width || *width == facts.n_embd()) return;
  facts.refuse(facts.key("embedding_length") + " is " + std::to_string(facts.n_embd()) + ", and " +
               embedding + " has rows of " + std::to_string(*width));
}

}  // namespace

void check_shapes(const GgufReader& gguf, const FileFacts& facts) {
  check_alignment(gguf);
  check_width(facts);
  check_attention(facts);
  check_recurrent(facts);
  check_feed_forward(facts);
}

void check_tensor_types(const GgufReader& gguf) {
  for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf.get()); ++i) {
    const ggml_type type = gguf_get_tensor_type(gguf.get(), i);
    const std::string_view name = gguf_get_tensor_name(gguf.get(), i);
    const bool is_row = gguf_get_tensor_ne(gguf.get(), i)[1] <= 1;
    const bool is_norm = name.ends_with("norm.weight") || name.ends_with("norm.bias");
    const bool is_bias = name.ends_with(".bias");
    const bool never = type == GGML_TYPE_I8 || type == GGML_TYPE_I16 || type == GGML_TYPE_I64 ||
                       type == GGML_TYPE_F64;
    // Some models have lists of I32, or a table for their experts.
    const bool is_list = is_row && name.find("norm") == std::string_view::npos && !is_bias;
    const bool table = is_list || name.find("tid2eid") != std::string_view::npos;
    if (never || (type == GGML_TYPE_I32 && !table)) {
      gguf.refuse("tensor '" + std::string(name) + "' has the type " + ggml_type_name(type) +
                  ", which weights cannot have");
    }
    if (is_row && (is_norm || is_bias) && type != GGML_TYPE_F32) {
      gguf.refuse("tensor '" + std::string(name) + "' has the type " + ggml_type_name(type) +
                  "; norms and biases are f32");
    }
    const bool is_factor = name.starts_with("rope_f") || name.find(".rope_f") != name.npos;
    const bool is_sink = name.ends_with("attn_sinks.weight");
    if ((is_factor || is_sink) && type != GGML_TYPE_F32) {
      gguf.refuse("tensor '" + std::string(name) + "' has the type " + ggml_type_name(type) +
                  "; factors of rotary dimensions and attention sinks are f32");
    }
  }
}

}  // namespace specbranch::llama
