#include "specbranch/llama/file/attention_rules.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "specbranch/llama/file/rotary_rules.h"

namespace specbranch::llama {
namespace {

/// A gate may lie beside the query in one matrix.
constexpr std::int64_t kMostQueryParts = 2;

/// A layer's heads as the settings state them; nothing for a layer without attention.
struct LayerHeads {
  std::string block;
  std::int64_t count = 0;
  std::int64_t kv_count = 0;  ///< 0: the layer keeps no keys and values.
  std::int64_t key = 0;       ///< the width of a key, and of a query.
  std::int64_t value = 0;     ///< the width of a value.
};

LayerHeads heads_of_layer(const FileFacts& facts, const Heads& heads, std::int64_t layer) {
  LayerHeads found;
  found.block = block(layer);
  found.count = of_layer(heads.counts, layer).value_or(0);
  const auto& kv_counts = heads.kv_counts.empty() ? heads.counts : heads.kv_counts;
  found.kv_count = of_layer(kv_counts, layer).value_or(0);
  // llama.cpp divides by the heads of the first layer.
  const std::int64_t first = of_layer(heads.counts, 0).value_or(0);
  const std::int64_t divided = first > 0 ? facts.n_embd() / first : 0;
  found.key = heads.key_length.value_or(divided);
  found.value = heads.value_length.value_or(divided);
  return found;
}

void require_heads(const FileFacts& facts, const LayerHeads& heads, const std::string& tensor) {
  if (heads.count > 0) return;
  facts.refuse(facts.key("attention.head_count") + " is " + number(heads.count) + ", and " +
               tensor + " needs heads");
}

void check_query(const FileFacts& facts, const Heads& all, const LayerHeads& heads) {
  const std::string query = heads.block + "attn_q.weight";
  const auto rows = facts.n_rows(query);
  if (!rows) return;
  require_heads(facts, heads, query);
  if (*rows % heads.count != 0) {
    facts.refuse(facts.key("attention.head_count") + " is " + number(heads.count) + ", and " +
                 query + " has " + number(*rows) + " rows, which is no multiple");
  }
  if (!all.plain) return;
  const std::int64_t stated = heads.key * heads.count;
  if (stated <= 0 || *rows % stated != 0 || *rows / stated > kMostQueryParts) {
    facts.refuse(query + " has " + number(*rows) + " rows, and " + number(heads.count) +
                 " heads of " + number(heads.key) + " are stated (" +
                 facts.key("attention.head_count") + ")");
  }
}

void check_key_value(const FileFacts& facts, const LayerHeads& heads) {
  if (heads.kv_count <= 0) return;
  const auto check = [&](const std::string& tensor, std::int64_t width) {
    const auto rows = facts.n_rows(tensor);
    if (!rows || *rows == heads.kv_count * width) return;
    facts.refuse(tensor + " has " + number(*rows) + " rows, and " + number(heads.kv_count) +
                 " heads of " + number(width) + " are stated (" +
                 facts.key("attention.head_count_kv") + ")");
  };
  check(heads.block + "attn_k.weight", heads.key);
  check(heads.block + "attn_v.weight", heads.value);
}

/// One matrix of queries, keys and values. Linear layers, which have a gate or a state, have
/// another matrix of this name.
void check_fused(const FileFacts& facts, const LayerHeads& heads) {
  const std::string fused = heads.block + "attn_qkv.weight";
  const auto rows = facts.n_rows(fused);
  if (!rows || facts.has(heads.block + "attn_gate.weight") || facts.has_any(heads.block + "ssm_")) {
    return;
  }
  require_heads(facts, heads, fused);
  const std::int64_t stated = heads.count * heads.key + heads.kv_count * (heads.key + heads.value);
  if (stated <= *rows && heads.kv_count > 0 && heads.count % heads.kv_count == 0) return;
  facts.refuse(fused + " has " + number(*rows) + " rows, and " + number(heads.count) +
               " queries and " + number(heads.kv_count) + " keys of " + number(heads.key) +
               " and values of " + number(heads.value) + " are stated (" +
               facts.key("attention.head_count") + ", head_count_kv)");
}

/// The matrix that leads back takes the values of all heads.
void check_output(const FileFacts& facts, const LayerHeads& heads) {
  const std::string output = heads.block + "attn_output.weight";
  const auto columns = facts.n_columns(output);
  if (!columns || heads.count <= 0 || heads.kv_count <= 0) return;
  if (*columns == heads.count * heads.value) return;
  facts.refuse(output + " has rows of " + number(*columns) + ", and " + number(heads.count) +
               " heads with values of " + number(heads.value) + " are stated (" +
               facts.key("attention.head_count") + ")");
}

/// A layer has all three matrices, or the fused one.
void check_complete(const FileFacts& facts, const LayerHeads& heads) {
  if (heads.count <= 0 || heads.kv_count <= 0) return;
  const auto has = [&](std::string_view name) {
    return facts.has(heads.block + std::string(name) + ".weight");
  };
  if (has("attn_qkv") || !(has("attn_q") || has("attn_k") || has("attn_v") || has("attn_output"))) {
    return;
  }
  for (const char* name : {"attn_q", "attn_k", "attn_v"}) {
    if (has(name)) continue;
    facts.refuse("there is no tensor '" + heads.block + name +
                 ".weight', which the other ones of this layer's attention need");
  }
}

/// Attention whose keys and values are made from one compressed vector (MLA). It caches either that
/// vector, as the key of a single head, or the keys and values of all heads.
void check_compressed(const FileFacts& facts, const LayerHeads& heads) {
  const auto rank = facts.integer("attention.kv_lora_rank");
  const std::string down = heads.block + "attn_kv_a_mqa.weight";
  const auto rows = facts.n_rows(down);
  if (!rank || !rows) return;
  require_heads(facts, heads, down);
  // Some architectures take the width of a decompressed key from another setting than others.
  const std::int64_t other = facts.integer("attention.key_length_mla").value_or(0);
  const bool absorbed = facts.has(heads.block + "attn_k_b.weight");
  const std::int64_t width = absorbed && other > 0 ? other : std::max(heads.key, other);
  const std::int64_t rotary = *rows - *rank;
  if (rotary < 0 || rotary >= width) {
    facts.refuse(down + " has " + number(*rows) + " rows, of which " +
                 facts.key("attention.kv_lora_rank") + " leaves " + number(rotary) +
                 " to be rotated, and a head has " + number(width) + " dimensions");
  }
  const std::int64_t cached = heads.kv_count * heads.key;
  const std::string found = number(heads.kv_count) + " heads of " + number(heads.key) +
                            " are stated (" + facts.key("attention.head_count_kv") +
                            ", key_length)";
  if (absorbed && cached != *rows) {
    facts.refuse(down + " gives " + number(*rows) + " elements of keys, and " + found);
  }
  const std::string up = heads.block + "attn_kv_b.weight";
  const bool fits = cached == heads.count * heads.key || cached == heads.count * other;
  if (!absorbed && facts.has(up) && !fits) {
    facts.refuse(up + " gives keys for " + number(heads.count) + " heads, and " + found);
  }
}

/// Attention whose only vector of a token is its key and its value.
void check_shared(const FileFacts& facts, const LayerHeads& heads, std::int64_t width) {
  const std::string tensor = heads.block + "attn_kv.weight";
  require_heads(facts, heads, tensor);
  if (heads.kv_count != 1 || heads.key != width || heads.value != width) {
    facts.refuse(tensor + " has " + number(width) + " rows, and " + number(heads.kv_count) +
                 " keys of " + number(heads.key) + " and values of " + number(heads.value) +
                 " are stated (" + facts.key("attention.head_count_kv") + ", key_length)");
  }
  const auto groups = facts.integer("attention.output_group_count");
  if (groups && (*groups <= 0 || heads.count % *groups != 0)) {
    facts.refuse(facts.key("attention.output_group_count") + " is " + number(*groups) +
                 ", which does not divide " + number(heads.count) + " heads");
  }
}

}  // namespace

void check_attention(const FileFacts& facts) {
  const Heads heads = heads_of(facts);
  check_rotary(facts, heads);
  for (std::int64_t layer = 0; layer < facts.n_layers(); ++layer) {
    const LayerHeads here = heads_of_layer(facts, heads, layer);
    if (facts.has(here.block + "attn_kv_a_mqa.weight")) {
      if (!heads.windows) check_compressed(facts, here);
    } else if (const auto width = facts.n_rows(here.block + "attn_kv.weight")) {
      check_shared(facts, here, *width);
    }
    check_query(facts, heads, here);
    if (!heads.plain) continue;
    check_key_value(facts, here);
    check_fused(facts, here);
    check_output(facts, here);
    check_complete(facts, here);
  }
  check_all_rotary(facts, heads);
}

}  // namespace specbranch::llama
