/// A target whose rows of logits have the same bits in every mode.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/models/row_padding.h"

namespace specbranch::llama {

/// What was found for a model, a build of llama.cpp and a machine.
struct ExactRows {
  RowPadding padding;
  bool repacked = true;  ///< with the weights repacked, as `use_extra_bufts` has them.
};

/// Loads the weights with other options.
using LoadWeights = std::function<std::shared_ptr<const Weights>(const ModelOptions&)>;

/// Whether single tokens agree with paths of every length as they are.
bool needs_nothing(const RowTrial& trial, int max_path);

/// Tests the rows of `weights` and, unless they need nothing, of the same weights without
/// repacking, which `load` gets; `weights` and `options` become those of the better ones. Not for
/// recurrent models. Throws InvalidArgument if no path of two tokens agrees, Aborted when `stop`
/// says so, and what `load` throws.
ExactRows find_exact_rows(std::shared_ptr<const Weights>& weights, ModelOptions& options,
                          int max_path, const LoadWeights& load, const std::function<bool()>& stop);

}  // namespace specbranch::llama
