/// What a mode would gain: the engine's decoder and planners on a synthetic pair under the virtual
/// clock, with given step times.
#pragma once

#include <string>
#include <vector>

#include "specbranch/model/options.h"
#include "specbranch/report/profile.h"
#include "specbranch/report/stats.h"
#include "specbranch/simulation/synthetic_pair.h"

namespace specbranch {

/// Where a pair runs. Times in microseconds.
struct SimulatedMachine {
  /// Step times and slow-downs. Between the entries of a curve nothing is missing; past its end it
  /// goes on at its mean slope.
  StepCosts costs;
  double target_latency_us = 0.0;  ///< added to every pass of the target: a network, say.
  double draft_latency_us = 0.0;   ///< likewise, of the draft.
  double hop_us = 0.0;             ///< from the end of a step to the begin of one it leads to.
  double abort_us = -1.0;          ///< how soon a pass can be cut short; negative: never.
  double target_prefill_us = 0.0;  ///< a token of the prompt; prefill is not in the time.
  double draft_prefill_us = 0.0;
};

struct Simulation {
  Request request;        ///< what is to be decoded; only the length of the prompt matters.
  SyntheticOptions pair;  ///< `text_begin` is set to the length of the prompt.
  SimulatedMachine machine;
  /// The planner is told what was measured while loading (`auto`); else it knows nothing.
  bool warm = true;
  bool draft = true;    ///< false: there is no draft model; `costs.draft_us` does not count.
  bool lookup = false;  ///< texts draft, too; in `auto`, and without a draft in `speculative`.
};

struct SimulationResult {
  Counters counters;
  double prefill_us = 0.0;
  double time_us = 0.0;  ///< of decoding.
  double target_busy_us = 0.0;
  double draft_busy_us = 0.0;
  double overlap_us = 0.0;  ///< both busy.
  double target_idle_us = 0.0;
  double draft_idle_us = 0.0;
  std::vector<TraceRound> rounds;  ///< with `request.trace`.
  std::string mode_reason;  ///< why the planner decoded as it did; empty: it has nothing to say.
};

/// Microseconds of a batch of `n` tokens on `curve` ([n - 1]), which is not empty.
double step_us(const std::vector<double>& curve, int n);

/// Decodes to the end of the request. Throws InvalidArgument for what is out of range.
SimulationResult simulate(const Simulation& simulation);

}  // namespace specbranch
