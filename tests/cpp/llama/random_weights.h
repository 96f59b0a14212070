/// Files of models with random weights, for architectures that the bundled pair does not have.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ggml.h"
#include "gguf.h"
#include "specbranch/llama/runtime/handles.h"

namespace specbranch::llama::testing {

/// Adds tensors of random numbers to a GGUF file.
class RandomTensors {
 public:
  explicit RandomTensors(gguf_context* gguf);

  /// Normal numbers, `a` of them, or `b` rows of `a`.
  void add(const std::string& name, std::int64_t a, std::int64_t b, float mean, float spread);

 private:
  struct Deleter {
    void operator()(ggml_context* context) const { ggml_free(context); }
  };

  gguf_context* gguf_;
  std::unique_ptr<ggml_context, Deleter> context_;
  std::mt19937 random_{5};
};

/// Metadata with the draft's vocabulary and these numbers.
GgufHandle metadata_of(const char* architecture,
                       const std::vector<std::pair<const char*, std::uint32_t>>& numbers);

std::int64_t vocabulary_size(const GgufHandle& gguf);

}  // namespace specbranch::llama::testing
