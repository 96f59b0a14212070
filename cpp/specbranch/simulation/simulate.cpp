#include "specbranch/simulation/simulate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/simulation/virtual_crowd.h"
#include "specbranch/simulation/virtual_run.h"

namespace specbranch {
namespace {

constexpr int kMostAtOnce = 64;
constexpr double kLatest = 1e12;  ///< microseconds.
/// Of one step, in microseconds. The sum over a long text still fits, slowed down 100 times, too.
constexpr double kLongest = 1e9;

std::int64_t rounded(double us) { return static_cast<std::int64_t>(std::llround(us)); }

void require_time(const char* name, double us, double most = kLongest) {
  if (us >= 0.0 && us <= most) return;
  throw InvalidArgument("[simulate] " + std::string(name) + " is " + std::to_string(us) +
                        " us; it must be 0 to " + (most > kLongest ? "1e12" : "1e9"));
}

void require_curve(const char* name, const std::vector<double>& curve) {
  if (curve.empty()) throw InvalidArgument("[simulate] " + std::string(name) + " is empty");
  for (const double us : curve) {
    if (us > 0.0 && us <= kLongest) continue;
    throw InvalidArgument("[simulate] " + std::string(name) + " has a step of " +
                          std::to_string(us) + " us; it must be above 0, at most 1e9");
  }
}

void require_slowdown(const char* name, double factor) {
  if (factor >= 1.0 && factor <= 100.0) return;
  throw InvalidArgument("[simulate] " + std::string(name) + " is " + std::to_string(factor) +
                        "; it must be 1 to 100");
}

void validate(const SimulatedMachine& machine, bool has_draft) {
  require_curve("target_us", machine.costs.target_us);
  if (has_draft) require_curve("draft_us", machine.costs.draft_us);
  require_slowdown("target_slowdown", machine.costs.target_slowdown);
  require_slowdown("draft_slowdown", machine.costs.draft_slowdown);
  require_time("target_latency_us", machine.target_latency_us);
  require_time("draft_latency_us", machine.draft_latency_us);
  require_time("hop_us", machine.hop_us);
  require_time("rebuild_us", machine.rebuild_us);
  require_time("abort_us", std::max(machine.abort_us, 0.0));
  require_time("target_prefill_us", machine.target_prefill_us);
  require_time("draft_prefill_us", machine.draft_prefill_us);
}

double duration(const SimulatedMachine& machine, ModelRole role, const Command& command) {
  const bool target = role == ModelRole::kTarget;
  const double latency = target ? machine.target_latency_us : machine.draft_latency_us;
  if (const auto* chunk = std::get_if<PrefillCommand>(&command.body)) {
    const double token = target ? machine.target_prefill_us : machine.draft_prefill_us;
    return latency + token * static_cast<double>(chunk->end - chunk->begin);
  }
  if (std::holds_alternative<OpenCommand>(command.body)) return 0.0;
  if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
    return latency + step_us(machine.costs.target_us, verify->n_tokens());
  }
  const auto& draft = std::get<DraftCommand>(command.body);
  return latency + step_us(machine.costs.draft_us, draft.n_tokens());
}

/// What measuring while loading would find.
StepCosts measured(const SimulatedMachine& machine, bool has_draft) {
  StepCosts costs = machine.costs;
  if (!has_draft) costs.draft_us.clear();
  for (double& us : costs.target_us) us += machine.target_latency_us;
  for (double& us : costs.draft_us) us += machine.draft_latency_us;
  return costs;
}

/// What is known before the first text.
PairProfile profile_of(const Simulation& simulation) {
  PairProfile profile;
  if (simulation.warm) profile.costs = measured(simulation.machine, simulation.draft);
  return profile;
}

/// What both simulations are told: the times of `machine`, which outlives it, and what `profile`
/// knows.
VirtualOptions options_of(const SimulatedMachine& machine, PairProfile& profile) {
  VirtualOptions options;
  options.target_us = [&machine](const Command& command) {
    return rounded(std::min(kLongest, duration(machine, ModelRole::kTarget, command)));
  };
  options.draft_us = [&machine](const Command& command) {
    return rounded(std::min(kLongest, duration(machine, ModelRole::kDraft, command)));
  };
  options.hop_us = rounded(machine.hop_us);
  options.rebuild_us = rounded(machine.rebuild_us);
  // A pass that cannot be cut short takes its whole time and then counts.
  options.abort_us = rounded(machine.abort_us < 0.0 ? kLatest : machine.abort_us);
  options.profile = &profile;
  options.target_slowdown = machine.costs.target_slowdown;
  options.draft_slowdown = machine.costs.draft_slowdown;
  return options;
}

void validate_length(const Request& request) {
  if (request.prompt.empty()) throw InvalidArgument("[simulate] the prompt is empty");
  if (request.max_tokens >= 0) return;
  throw InvalidArgument("[simulate] max_tokens is " + std::to_string(request.max_tokens) +
                        "; a simulated text needs an end");
}

}  // namespace

double step_us(const std::vector<double>& curve, int n) {
  const auto i = static_cast<std::size_t>(std::max(n, 1)) - 1;
  if (i < curve.size()) return curve[i];
  if (curve.size() == 1) return curve[0];
  const auto last = static_cast<double>(curve.size() - 1);
  const double slope = std::max(0.0, (curve.back() - curve.front()) / last);
  return curve.back() + slope * (static_cast<double>(i) - last);
}

namespace {

/// `profile`: what is known of the pair, and becomes known.
SimulationResult simulate_with(const Simulation& simulation, PairProfile& profile) {
  SyntheticOptions pair = simulation.pair;
  pair.text_begin = static_cast<Pos>(simulation.request.prompt.size());
  const auto target = make_synthetic_target(pair);
  const auto draft = simulation.draft ? make_synthetic_draft(pair) : nullptr;

  VirtualOptions options = options_of(simulation.machine, profile);
  if (simulation.lookup) {
    options.proposer = [&] {
      return text_proposer(simulation.request, texts_of(simulation.request), &profile);
    };
  }
  VirtualResult run = run_virtually(simulation.request, *target, draft.get(), options);
  if (run.error) std::rethrow_exception(run.error);

  SimulationResult result;
  result.counters = run.counters;
  result.rounds = std::move(run.rounds);
  result.mode_reason = std::move(run.mode_reason);
  result.prefill_us = static_cast<double>(run.prefill_us);
  result.time_us = static_cast<double>(run.time_us);
  result.target_busy_us = static_cast<double>(run.target_us);
  result.draft_busy_us = static_cast<double>(run.draft_us);
  result.overlap_us = static_cast<double>(run.overlap_us);
  result.target_idle_us = result.time_us - result.target_busy_us;
  result.draft_idle_us = result.time_us - result.draft_busy_us;
  return result;
}

}  // namespace

SimulationResult simulate(const Simulation& simulation) {
  return std::move(simulate_texts(std::span(&simulation, 1)).front());
}

std::vector<SimulationResult> simulate_texts(std::span<const Simulation> texts) {
  if (texts.empty()) throw InvalidArgument("[simulate_texts] there is no text");
  for (const Simulation& text : texts) {
    SyntheticOptions pair = text.pair;
    pair.text_begin = static_cast<Pos>(text.request.prompt.size());
    validate(text.machine, text.draft);
    validate_length(text.request);
    validate(pair);
    validate(text.request, pair.n_vocab);
  }
  PairProfile profile = profile_of(texts.front());
  std::vector<SimulationResult> results;
  results.reserve(texts.size());
  for (const Simulation& text : texts) results.push_back(simulate_with(text, profile));
  return results;
}

CrowdSimulation simulate_crowd(const Simulation& simulation,
                               const std::vector<SimulatedClient>& clients, int n_parallel) {
  validate(simulation.machine, simulation.draft);
  if (clients.empty()) throw InvalidArgument("[simulate_crowd] there is no client");
  if (n_parallel < 1 || n_parallel > kMostAtOnce) {
    throw InvalidArgument("[simulate_crowd] n_parallel is " + std::to_string(n_parallel) +
                          "; it must be 1 to " + std::to_string(kMostAtOnce));
  }
  SyntheticOptions pair = simulation.pair;
  pair.n_target_seq = n_parallel;
  pair.n_seq *= n_parallel;
  pair.max_batch = std::max(pair.max_batch, pair.n_seq);
  PairProfile profile = profile_of(simulation);
  const VirtualOptions options = options_of(simulation.machine, profile);
  std::vector<VirtualClient> texts;
  for (const SimulatedClient& client : clients) {
    require_time("arrival_us", client.arrival_us, kLatest);
    VirtualClient& text = texts.emplace_back();
    text.arrival_us = rounded(client.arrival_us);
    Request& request = text.request;
    request = simulation.request;
    request.prompt.assign(static_cast<std::size_t>(std::max(0, client.n_prompt)), 0);
    request.max_tokens = client.n_tokens;
    request.sampling.seed = texts.size();  // each has a text of its own
    validate_length(request);
    validate(request, pair.n_vocab);
    pair.text_begin =
        texts.size() == 1 ? client.n_prompt : std::min(pair.text_begin, client.n_prompt);
    if (simulation.lookup) {
      text.proposer = [request, &profile] {
        return text_proposer(request, texts_of(request), &profile);
      };
    }
  }
  validate(pair);
  const auto target = make_synthetic_target(pair);
  const auto draft = simulation.draft ? make_synthetic_draft(pair) : nullptr;
  const VirtualCrowd run = run_crowd(std::move(texts), *target, draft.get(), options, n_parallel);

  CrowdSimulation result;
  for (const VirtualText& text : run.texts) {
    if (text.error) std::rethrow_exception(text.error);
    SimulatedText& found = result.texts.emplace_back();
    found.start_us = static_cast<double>(text.start_us);
    found.token_us.assign(text.token_us.begin(), text.token_us.end());
    found.counters = text.counters;
    found.mode_reason = text.mode_reason;
  }
  result.time_us = static_cast<double>(run.time_us);
  result.target_busy_us = static_cast<double>(run.target_us);
  result.draft_busy_us = static_cast<double>(run.draft_us);
  result.n_batches = run.n_batches;
  result.n_batch_tokens = run.n_batch_tokens;
  return result;
}

}  // namespace specbranch
