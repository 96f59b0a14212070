/// What the workers call to make their models.
#pragma once

#include <memory>
#include <utility>

#include "specbranch/llama/models/draft.h"
#include "specbranch/llama/models/target.h"
#include "specbranch/model/model.h"

namespace specbranch::llama {

/// The context is created on the thread that calls the factory; the weights are loaded before.
inline ModelFactory<TargetModel> target_factory(std::shared_ptr<const Weights> weights,
                                                ModelOptions model, TargetOptions options = {}) {
  return [weights = std::move(weights), model = std::move(model), options] {
    return std::make_unique<LlamaTarget>(weights, model, options);
  };
}

/// `options.n_common`, `options.never_proposed`: what check_compatible returned for the two
/// vocabularies.
inline ModelFactory<DraftModel> draft_factory(std::shared_ptr<const Weights> weights,
                                              ModelOptions model, DraftOptions options = {}) {
  return [weights = std::move(weights), model = std::move(model), options = std::move(options)] {
    return std::make_unique<LlamaDraft>(weights, model, options);
  };
}

}  // namespace specbranch::llama
