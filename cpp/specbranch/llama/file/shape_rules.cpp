#include "specbranch/llama/file/shape_rules.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "gguf.h"
#include "llama.h"

namespace specbranch::llama {
namespace {

/// Buffers of ggml begin at multiples of this, and so must tensors that are mapped from a file.
constexpr std::int64_t kTensorAlignment = 32;
/// A gate may lie beside the query in one matrix.
constexpr std::int64_t kMostQueryParts = 2;

std::string number(std::int64_t value) { return std::to_string(value); }

void check_alignment(const GgufReader& gguf) {
  const auto alignment = gguf.integer("general.alignment");
  if (!alignment || (*alignment > 0 && *alignment % kTensorAlignment == 0)) return;
  gguf.refuse("general.alignment is " + number(*alignment) + ", not a multiple of " +
              number(kTensorAlignment));
}

/// The number of rows of a tensor: what a product with it gives.
std::optional<std::int64_t> n_rows(const GgufReader& gguf, const std::string& name) {
  const std::int64_t i = gguf_find_tensor(gguf.get(), name.c_str());
  if (i < 0) return std::nullopt;
  return gguf_get_tensor_ne(gguf.get(), i)[1];
}

std::optional<std::int64_t> of_layer(const std::vector<std::int64_t>& values, std::int64_t layer) {
  if (values.empty()) return std::nullopt;
  if (values.size() == 1) return values.front();
  const auto i = static_cast<std::size_t>(layer);
  return i < values.size() ? std::optional(values[i]) : std::nullopt;
}

/// What the settings say about attention heads.
struct Heads {
  std::string count_key;
  std::vector<std::int64_t> counts;     ///< one for all layers, or one of each.
  std::vector<std::int64_t> kv_counts;  ///< empty: as `counts`.
  std::optional<std::int64_t> key_length;
  std::optional<std::int64_t> value_length;
  /// The widths are as stated: the same in all layers, and not compressed (MLA).
  bool plain = true;
};

Heads heads_of(const GgufReader& gguf, const std::string& arch) {
  const std::string prefix = arch + ".attention.";
  Heads heads;
  heads.count_key = prefix + "head_count";
  heads.counts = gguf.integers(heads.count_key);
  heads.kv_counts = gguf.integers(prefix + "head_count_kv");
  heads.key_length = gguf.integer(prefix + "key_length");
  heads.value_length = gguf.integer(prefix + "value_length");
  for (const char* other : {"kv_lora_rank", "q_lora_rank", "key_length_mla", "key_length_swa",
                            "value_length_swa", "shared_kv_layers"}) {
    if (gguf.integer(prefix + other)) heads.plain = false;
  }
  return heads;
}

void check_heads_of_layer(const GgufReader& gguf, const std::string& arch, const Heads& heads,
                          std::int64_t layer) {
  const std::string block = "blk." + number(layer) + ".";
  const std::string query = block + "attn_q.weight";
  const auto q_rows = n_rows(gguf, query);
  if (!q_rows) return;  // another kind of layer, or one matrix of all three
  const auto count = of_layer(heads.counts, layer);
  if (!count || *count <= 0) {
    gguf.refuse(heads.count_key + " is " + (count ? number(*count) : "missing") + ", and " + query +
                " needs heads");
  }
  if (*q_rows % *count != 0) {
    gguf.refuse(heads.count_key + " is " + number(*count) + ", and " + query + " has " +
                number(*q_rows) + " rows, which is no multiple");
  }
  if (!heads.plain) return;
  const std::int64_t n_embd = gguf.integer(arch + ".embedding_length").value_or(0);
  const std::int64_t width = heads.key_length.value_or(n_embd / *count);
  const std::int64_t stated = width * *count;
  if (stated <= 0 || *q_rows % stated != 0 || *q_rows / stated > kMostQueryParts) {
    gguf.refuse(query + " has " + number(*q_rows) + " rows, and " + number(*count) + " heads of " +
                number(width) + " are stated (" + heads.count_key + ")");
  }
  const auto kv_count = of_layer(heads.kv_counts.empty() ? heads.counts : heads.kv_counts, layer);
  if (!kv_count || *kv_count <= 0) return;
  const auto check_kv = [&](const std::string& tensor, std::int64_t each) {
    const auto rows = n_rows(gguf, tensor);
    if (!rows || *rows == *kv_count * each) return;
    gguf.refuse(tensor + " has " + number(*rows) + " rows, and " + number(*kv_count) +
                " heads of " + number(each) + " are stated (" + arch + ".attention.head_count_kv)");
  };
  check_kv(block + "attn_k.weight", width);
  check_kv(block + "attn_v.weight", heads.value_length.value_or(n_embd / *count));
}

void check_rotary(const GgufReader& gguf, const std::string& arch, const Heads& heads) {
  const std::string key = arch + ".rope.dimension_count";
  const auto n_rot = gguf.integer(key);
  if (!n_rot) return;
  if (*n_rot < 0 || *n_rot % 2 != 0) {
    gguf.refuse(key + " is " + number(*n_rot) + ", not an even number of at least 0");
  }
  const auto count = of_layer(heads.counts, 0);
  const std::int64_t n_embd = gguf.integer(arch + ".embedding_length").value_or(0);
  if (!heads.plain || !count || *count <= 0) return;
  const std::int64_t width = heads.key_length.value_or(n_embd / *count);
  if (*n_rot > width) {
    gguf.refuse(key + " is " + number(*n_rot) + ", and a head has " + number(width) +
                " dimensions");
  }
}

}  // namespace

void check_shapes(const GgufReader& gguf, const std::string& arch) {
  check_alignment(gguf);
  const Heads heads = heads_of(gguf, arch);
  check_rotary(gguf, arch, heads);
  const std::int64_t n_layers = gguf.integer(arch + ".block_count").value_or(0);
  for (std::int64_t layer = 0; layer < n_layers; ++layer) {
    check_heads_of_layer(gguf, arch, heads, layer);
  }
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
  }
}

}  // namespace specbranch::llama
