/// What `step_cost` is asked to measure: its models and options.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/llama/file/model_options.h"

namespace specbranch::step_cost {

constexpr Pos kGrowth = 128;  ///< a dummy text grows by so much, then it begins anew.

struct Settings {
  llama::ModelOptions target;
  llama::ModelOptions draft;
  std::vector<int> lengths{1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32};
  std::vector<int> widths{1, 2, 3, 4, 5, 6, 7, 8};
  int start = 64;         ///< tokens before the first step.
  int repeats = 9;        ///< groups of each length.
  double seconds = 10.0;  ///< of one curve; a second group is begun only before that.
};

/// Reads the arguments of the program: its name, two files, and options with their values.
/// Throws std::runtime_error, or InvalidArgument for the options of the models.
Settings parse_settings(std::span<char*> arguments);

}  // namespace specbranch::step_cost
