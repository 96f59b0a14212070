/// Rules about rotary dimensions, and the heads that they are part of.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "specbranch/llama/file/file_facts.h"

namespace specbranch::llama {

/// What the settings say about attention heads.
struct Heads {
  std::vector<std::int64_t> counts;     ///< one for all layers, or one of each.
  std::vector<std::int64_t> kv_counts;  ///< empty: as `counts`.
  std::optional<std::int64_t> key_length;
  std::optional<std::int64_t> value_length;
  /// Layers with a sliding window have heads of their own.
  bool windows = false;
  /// The widths are as stated: the same in all layers, and not compressed (MLA).
  bool plain = true;
};

Heads heads_of(const FileFacts& facts);

/// Refuses rotary dimensions that are odd, more than a head has, or none where llama.cpp's kernel
/// never ends then.
void check_rotary(const FileFacts& facts, const Heads& heads);

/// Refuses fewer rotary dimensions than a head has, where llama.cpp asserts that all are rotated.
/// Tensors do not say this, so their rules come first.
void check_all_rotary(const FileFacts& facts, const Heads& heads);

}  // namespace specbranch::llama
