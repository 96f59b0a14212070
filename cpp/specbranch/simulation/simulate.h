/// What a mode would gain: the engine's decoder and planners on a synthetic pair under the virtual
/// clock, with given step times.
#pragma once

#include <span>
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
  double rebuild_us = 0.0;         ///< a verification of another length than the last one: longer.
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

/// One of several texts that are decoded at once.
struct SimulatedClient {
  double arrival_us = 0.0;
  int n_prompt = 16;   ///< tokens, at least 1.
  int n_tokens = 200;  ///< of the answer.
};

/// What became of it, in microseconds of the simulation.
struct SimulatedText {
  double start_us = 0.0;         ///< when a place was free for it.
  std::vector<double> token_us;  ///< when each of its tokens was there.
  Counters counters;
  std::string mode_reason;
};

struct CrowdSimulation {
  std::vector<SimulatedText> texts;  ///< in the order of the clients.
  double time_us = 0.0;              ///< until the last one ended.
  double target_busy_us = 0.0;
  double draft_busy_us = 0.0;
  std::int64_t n_batches = 0;       ///< verifications of the target.
  std::int64_t n_batch_tokens = 0;  ///< of all of them, without padding.
};

/// Microseconds of a batch of `n` tokens on `curve` ([n - 1]), which is not empty.
double step_us(const std::vector<double>& curve, int n);

/// Decodes to the end of the request. Throws InvalidArgument for what is out of range.
SimulationResult simulate(const Simulation& simulation);

/// Decodes one text after another, at least one. What a planner learns of the pair from one
/// (`auto`), that of the next one knows, as in an engine. What was measured while loading is that
/// of the first machine. Throws as `simulate`.
std::vector<SimulationResult> simulate_texts(std::span<const Simulation> texts);

/// Decodes the texts of all clients, `n_parallel` at once. Of `simulation.request` only how it is
/// to be decoded matters. Throws as `simulate`.
CrowdSimulation simulate_crowd(const Simulation& simulation,
                               const std::vector<SimulatedClient>& clients, int n_parallel);

}  // namespace specbranch
