#include "specbranch/llama/file/recurrent_rules.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace specbranch::llama {
namespace {

constexpr std::int64_t kWkvHeads = 64;

/// llama.cpp asserts that the state of these is twice as wide as the embedding.
constexpr std::array kTwiceAsWide = {std::string_view("granitehybrid"), std::string_view("jamba")};

/// The state of a layer has `ssm.inner_size` rows, whatever its tensors say.
void check_state(const FileFacts& facts, std::int64_t layer) {
  const std::string output = block(layer) + "ssm_out.weight";
  const auto columns = facts.n_columns(output);
  if (!columns) return;
  const std::string key = facts.key("ssm.inner_size");
  const auto inner = facts.integer("ssm.inner_size");
  if (!inner || *inner != *columns) {
    facts.refuse(key + " is " + (inner ? number(*inner) : "missing") + ", and " + output +
                 " has rows of " + number(*columns));
  }
  if (contains(kTwiceAsWide, facts.arch()) && *inner != 2 * facts.n_embd()) {
    facts.refuse(key + " is " + number(*inner) + ", and llama.cpp takes only twice " +
                 facts.key("embedding_length") + " (" + number(facts.n_embd()) + ")");
  }
  // Where groups share keys, the convolution also takes those.
  const auto channels = facts.n_rows(block(layer) + "ssm_conv1d.weight");
  if (!channels || *channels == *inner) return;
  const auto heads = facts.integer("ssm.time_step_rank").value_or(0);
  const auto groups = facts.integer("ssm.group_count").value_or(0);
  if (heads <= 0 || *inner % heads != 0 || groups <= 0 || heads % groups != 0) {
    facts.refuse(facts.key("ssm.time_step_rank") + " (" + number(heads) + ") and " +
                 facts.key("ssm.group_count") + " (" + number(groups) + ") do not divide " + key +
                 " (" + number(*inner) + ")");
  }
}

/// ggml's kernels of RWKV read beyond heads of other sizes: the states would be what lies there.
void check_wkv_heads(const FileFacts& facts) {
  const auto size = facts.integer("wkv.head_size");
  if (size && (*size <= 0 || *size % kWkvHeads != 0)) {
    facts.refuse(facts.key("wkv.head_size") + " is " + number(*size) + ", not a multiple of " +
                 number(kWkvHeads));
  }
}

/// RWKV shifts tokens once in the time mix, and once more in the channel mix of layers that have
/// one.
void check_token_shifts(const FileFacts& facts) {
  if (!facts.integer("wkv.head_size")) return;
  const std::int64_t needed = facts.has(block(0) + "channel_mix_key.weight") ? 2 : 1;
  const auto stated = facts.integer("token_shift_count").value_or(2);
  if (stated == needed || !facts.has_any(block(0) + "time_mix_")) return;
  facts.refuse(facts.key("token_shift_count") + " is " + number(stated) + ", and layers shift " +
               "tokens " + number(needed) + " times");
}

/// The keys of RWKV 6; those of RWKV 7 have no heads of their own.
void check_wkv_keys(const FileFacts& facts, std::int64_t layer) {
  const std::string tensor = block(layer) + "time_mix_key.weight";
  const auto rows = facts.n_rows(tensor);
  const auto size = facts.integer("wkv.head_size");
  if (!rows || !size || !facts.has(block(layer) + "time_mix_lerp_x.weight")) return;
  auto counts = facts.integers("attention.head_count_kv");
  if (counts.empty()) counts = facts.integers("attention.head_count");
  const std::int64_t count = of_layer(counts, layer).value_or(0);
  if (count == 0 || *rows == count * *size) return;
  facts.refuse(facts.key("attention.head_count_kv") + " is " + number(count) + ", and " + tensor +
               " has " + number(*rows) + " rows for heads of " + number(*size));
}

}  // namespace

void check_recurrent(const FileFacts& facts) {
  check_wkv_heads(facts);
  check_token_shifts(facts);
  for (std::int64_t layer = 0; layer < facts.n_layers(); ++layer) {
    check_state(facts, layer);
    check_wkv_keys(facts, layer);
  }
}

}  // namespace specbranch::llama
