/// Which samplers act, and how much of their work the quick ways of `TokenDistribution` can do.
#pragma once

#include <vector>

#include "specbranch/model/sampling_options.h"

namespace specbranch::llama {

/// The acting samplers of some options, in order. What changes nothing is left out.
struct SamplerPlan {
  /// The leading ones of penalties and DRY: they change the logits of few tokens of the row.
  std::vector<SamplerKind> adjustments;
  /// Those after them. At temperature 0, those before the temperature, after which one token is
  /// left.
  std::vector<SamplerKind> rest;
  /// The most probable token of what `rest` leaves.
  bool greedy = false;
  /// Mirostat follows `rest`.
  bool mirostat = false;
  /// The last sampler remembers what was chosen.
  bool remembers = false;
  /// `rest` is top-k, top-p, min-p and temperature, each at most once and in this order; or it
  /// changes nothing, as it always keeps the token that is chosen greedily.
  bool quick = false;
};

SamplerPlan plan_samplers(const SamplingOptions& options);

/// `options` with every sampler off that `plan` does not have.
SamplingOptions without_idle(const SamplingOptions& options, const SamplerPlan& plan);

/// True if any penalty is on.
bool has_penalties(const SamplingOptions& options);

}  // namespace specbranch::llama
