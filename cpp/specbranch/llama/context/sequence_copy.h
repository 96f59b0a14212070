/// All that a sequence of a context holds, in host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "specbranch/llama/context/hashed_tokens.h"

namespace specbranch::llama {

/// See LlamaContext::copy_out.
struct SequenceCopy {
  HashedTokens tokens;
  std::unique_ptr<std::uint8_t[]> bytes;  ///< llama.cpp's.
  std::size_t n_bytes = 0;
};

}  // namespace specbranch::llama
