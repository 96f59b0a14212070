#include "bindings/simulation/simulate.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/library/gil.h"
#include "specbranch/simulation/simulate.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

using Segments = std::vector<std::pair<std::int64_t, double>>;
using Records = std::vector<std::pair<std::vector<float>, int>>;

Segments segments(const SyntheticOptions& pair) {
  Segments found;
  for (const auto& [n_tokens, alpha] : pair.segments) found.emplace_back(n_tokens, alpha);
  return found;
}

void set_segments(SyntheticOptions& pair, const Segments& wanted) {
  pair.segments.clear();
  for (const auto& [n_tokens, alpha] : wanted) pair.segments.push_back({n_tokens, alpha});
}

Records replay(const SyntheticOptions& pair) {
  Records found;
  for (const auto& [confidences, hit_rank] : pair.replay) found.emplace_back(confidences, hit_rank);
  return found;
}

void set_replay(SyntheticOptions& pair, Records wanted) {
  pair.replay.clear();
  for (auto& [confidences, hit_rank] : wanted) {
    pair.replay.push_back({std::move(confidences), hit_rank});
  }
}

template <auto Field, class Class>
void add_cost(Class& cls, const char* name) {
  using Value = std::remove_reference_t<decltype(std::declval<StepCosts>().*Field)>;
  cls.def_property(
      name, [](const SimulatedMachine& machine) -> Value { return machine.costs.*Field; },
      [](SimulatedMachine& machine, Value value) { machine.costs.*Field = std::move(value); });
}

template <auto Field, class Class>
void add_simulated_counter(Class& cls, const char* name) {
  cls.def_property_readonly(name,
                            [](const SimulationResult& result) { return result.counters.*Field; });
}

/// One after another.
std::vector<SimulationResult> run_texts(const std::vector<Request>& requests,
                                        const std::vector<SyntheticOptions>& pairs,
                                        const std::vector<SimulatedMachine>& machines,
                                        const std::vector<bool>& lookups, bool warm, bool draft) {
  std::vector<Simulation> texts;
  texts.reserve(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    texts.push_back({requests[i], pairs.at(i), machines.at(i), warm, draft, lookups.at(i)});
  }
  return without_gil([&] { return simulate_texts(texts); });
}

/// Each client: (microseconds of its arrival, tokens of its prompt, tokens of its answer).
using Clients = std::vector<std::tuple<double, int, int>>;

CrowdSimulation run_crowd(const Request& request, const SyntheticOptions& pair,
                          const SimulatedMachine& machine, const Clients& wanted, int n_parallel,
                          bool warm, bool draft, bool lookup) {
  std::vector<SimulatedClient> clients;
  clients.reserve(wanted.size());
  for (const auto& [arrival_us, n_prompt, n_tokens] : wanted) {
    clients.push_back({arrival_us, n_prompt, n_tokens});
  }
  return without_gil([&] {
    return simulate_crowd(Simulation{request, pair, machine, warm, draft, lookup}, clients,
                          n_parallel);
  });
}

}  // namespace

void register_simulate(py::module_& m) {
  py::class_<SyntheticOptions>(m, "SyntheticPair", "A pair whose acceptance is a parameter.")
      .def(py::init<>())
      .def_readwrite("seed", &SyntheticOptions::seed)
      .def_readwrite("n_branches", &SyntheticOptions::n_branches)
      .def_readwrite("n_seq", &SyntheticOptions::n_seq)
      .def_readwrite("n_vocab", &SyntheticOptions::n_vocab)
      .def_readwrite("alpha", &SyntheticOptions::alpha)
      .def_property("segments", &segments, &set_segments, "Pairs of a length and its alpha.")
      .def_readwrite("rank_hits", &SyntheticOptions::rank_hits)
      .def_readwrite("concentration", &SyntheticOptions::concentration)
      .def_readwrite("distortion", &SyntheticOptions::distortion)
      .def_readwrite("copy_rate", &SyntheticOptions::copy_rate)
      .def_readwrite("copy_length", &SyntheticOptions::copy_length)
      .def_readwrite("text", &SyntheticOptions::text)
      .def_property("replay", &replay, &set_replay, "Pairs of confidences and the rank of a hit.");

  py::class_<SimulatedMachine> machine(m, "SimulatedMachine", "What steps cost, in microseconds.");
  machine.def(py::init<>())
      .def_readwrite("target_latency_us", &SimulatedMachine::target_latency_us)
      .def_readwrite("draft_latency_us", &SimulatedMachine::draft_latency_us)
      .def_readwrite("hop_us", &SimulatedMachine::hop_us)
      .def_readwrite("rebuild_us", &SimulatedMachine::rebuild_us)
      .def_readwrite("abort_us", &SimulatedMachine::abort_us)
      .def_readwrite("target_prefill_us", &SimulatedMachine::target_prefill_us)
      .def_readwrite("draft_prefill_us", &SimulatedMachine::draft_prefill_us);
  add_cost<&StepCosts::target_us>(machine, "target_us");
  add_cost<&StepCosts::draft_us>(machine, "draft_us");
  add_cost<&StepCosts::target_slowdown>(machine, "target_slowdown");
  add_cost<&StepCosts::draft_slowdown>(machine, "draft_slowdown");

  py::class_<SimulationResult> result(m, "SimulationResult", "Times in microseconds.");
  result.def_readonly("prefill_us", &SimulationResult::prefill_us)
      .def_readonly("time_us", &SimulationResult::time_us)
      .def_readonly("target_busy_us", &SimulationResult::target_busy_us)
      .def_readonly("draft_busy_us", &SimulationResult::draft_busy_us)
      .def_readonly("overlap_us", &SimulationResult::overlap_us)
      .def_readonly("mode_reason", &SimulationResult::mode_reason);
  add_simulated_counter<&Counters::n_generated>(result, "n_generated");
  add_simulated_counter<&Counters::n_target_steps>(result, "n_target_steps");
  add_simulated_counter<&Counters::n_draft_steps>(result, "n_draft_steps");
  add_simulated_counter<&Counters::n_draft_lanes>(result, "n_draft_lanes");
  add_simulated_counter<&Counters::n_drafted>(result, "n_drafted");
  add_simulated_counter<&Counters::n_accepted>(result, "n_accepted");
  add_simulated_counter<&Counters::n_rolled_back>(result, "n_rolled_back");
  add_simulated_counter<&Counters::branch_hits>(result, "branch_hits");

  m.def("simulate_texts", &run_texts, py::arg("requests"), py::arg("pairs"), py::arg("machines"),
        py::arg("lookups"), py::arg("warm") = true, py::arg("draft") = true,
        "Decodes one text after another under a virtual clock, each with a request, a pair, a "
        "machine and whether it drafts from its text; refuses what is out of range.");

  py::class_<SimulatedText>(m, "SimulatedText", "One of several texts. Times in microseconds.")
      .def_readonly("start_us", &SimulatedText::start_us)
      .def_readonly("token_us", &SimulatedText::token_us)
      .def_readonly("mode_reason", &SimulatedText::mode_reason)
      .def_property_readonly("n_drafted",
                             [](const SimulatedText& text) { return text.counters.n_drafted; })
      .def_property_readonly("n_accepted",
                             [](const SimulatedText& text) { return text.counters.n_accepted; });

  py::class_<CrowdSimulation>(m, "CrowdSimulation", "Several texts. Times in microseconds.")
      .def_readonly("texts", &CrowdSimulation::texts)
      .def_readonly("time_us", &CrowdSimulation::time_us)
      .def_readonly("target_busy_us", &CrowdSimulation::target_busy_us)
      .def_readonly("draft_busy_us", &CrowdSimulation::draft_busy_us)
      .def_readonly("n_batches", &CrowdSimulation::n_batches)
      .def_readonly("n_batch_tokens", &CrowdSimulation::n_batch_tokens);

  m.def("simulate_crowd", &run_crowd, py::arg("request"), py::arg("pair"), py::arg("machine"),
        py::arg("clients"), py::arg("n_parallel"), py::arg("warm") = true, py::arg("draft") = true,
        py::arg("lookup") = false,
        "Decodes several texts at once under a virtual clock; a client is (arrival_us, n_prompt, "
        "n_tokens).");
}

}  // namespace specbranch::bindings
