/// Rules about attention: heads, their widths, rotary dimensions, compressed caches.
#pragma once

#include "specbranch/llama/file/file_facts.h"

namespace specbranch::llama {

/// Refuses a file whose numbers and widths of heads do not fit the matrices of its attention, be
/// they separate, fused or compressed, whose rotary dimensions do not fit a head, or that has only
/// some of the matrices of a layer.
void check_attention(const FileFacts& facts);

}  // namespace specbranch::llama
