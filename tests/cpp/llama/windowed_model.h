/// A model whose layers have a sliding window, in turns, written by the tests.
#pragma once

#include <memory>

#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/models/footprint.h"
#include "support.h"

namespace specbranch::llama::testing {

inline constexpr Pos kWindow = 64;

/// Gemma 2 with four layers of width 64 and random weights.
struct Gemma {
  Gemma();

  ModelOptions full;     ///< all layers keep all cells.
  ModelOptions windows;  ///< of some layers only a window is kept.
  Footprint footprint_full;
  Footprint footprint_windows;
  std::shared_ptr<const Weights> weights;
};

/// Made once for all tests.
const Gemma& gemma();

}  // namespace specbranch::llama::testing
