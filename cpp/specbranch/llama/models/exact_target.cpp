#include "specbranch/llama/models/exact_target.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <vector>

#include "specbranch/base/errors.h"

namespace specbranch::llama {

bool needs_nothing(const RowTrial& trial, int max_path) {
  return trial.padding.multiple == 1 && trial.padding.max_path >= max_path;
}

ExactRows find_exact_rows(std::shared_ptr<const Weights>& weights, ModelOptions& options,
                          int max_path, const LoadWeights& load,
                          const std::function<bool()>& stop) {
  const RowTest test{max_path, kRowMultiples, /*all=*/false, stop};
  std::vector<RowTrial> trials = test_rows(weights, options, test);
  const bool repacked = options.use_extra_bufts;
  const std::size_t n_repacked = repacked ? trials.size() : 0;
  const auto load_again = [&](bool repack) {
    options.use_extra_bufts = repack;
    weights.reset();  // there may be no memory for both
    weights = load(options);
  };
  if (repacked && !needs_nothing(trials.front(), max_path)) {
    load_again(false);
    std::ranges::copy(test_rows(weights, options, test), std::back_inserter(trials));
  }
  const std::optional<std::size_t> best = best_trial(trials);
  if (!best) {
    throw InvalidArgument(
        "bit_exact is True, but with this model this build of llama.cpp computes no batch of two "
        "tokens with the logits of single tokens; use bit_exact=False");
  }
  const bool wanted = *best < n_repacked;
  if (wanted != options.use_extra_bufts) load_again(wanted);
  return {trials[*best].padding, wanted};
}

}  // namespace specbranch::llama
