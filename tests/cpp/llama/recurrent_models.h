/// Recurrent and hybrid models with random weights, written by the tests.
#pragma once

#include <memory>
#include <string>

#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/models/footprint.h"
#include "support.h"

namespace specbranch::llama::testing {

/// A model that the test has written and loaded.
struct Written {
  explicit Written(void (*write)(const std::string& path));

  ModelOptions options;
  Footprint footprint;  ///< of a target.
  std::shared_ptr<const Weights> weights;
};

void write_lfm2(const std::string& path);

/// Two layers with short convolutions and two with attention, of width 64, with the draft's
/// vocabulary. It takes back tokens of its last batch.
struct Lfm2 : Written {
  Lfm2();
};

/// Two layers of width 64 with the draft's vocabulary. Its sequences are copied and dropped as a
/// whole.
struct Mamba : Written {
  Mamba();
};

}  // namespace specbranch::llama::testing
