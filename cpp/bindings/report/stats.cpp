#include "bindings/report/stats.h"

#include <pybind11/stl.h>

#include <string>

#include "specbranch/engine/engine.h"
#include "specbranch/report/stats.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

template <auto Field, class Class>
void add_counter(Class& cls, const char* name) {
  cls.def_property_readonly(name, [](const Stats& stats) { return stats.counters.*Field; });
}

}  // namespace

void register_stats(py::module_& m) {
  py::class_<Stats> stats(m, "Stats", "What one generation did; times in milliseconds.");
  stats.def_property_readonly("mode", [](const Stats& s) { return std::string(to_string(s.mode)); })
      .def_readonly("seed", &Stats::seed)
      .def_readonly("n_prompt", &Stats::n_prompt)
      .def_readonly("n_reused", &Stats::n_reused)
      .def_readonly("prefill_ms", &Stats::prefill_ms)
      .def_readonly("decode_ms", &Stats::decode_ms)
      .def_readonly("target_busy_ms", &Stats::target_busy_ms)
      .def_readonly("draft_busy_ms", &Stats::draft_busy_ms)
      .def_readonly("target_idle_ms", &Stats::target_idle_ms)
      .def_readonly("draft_idle_ms", &Stats::draft_idle_ms)
      .def_readonly("overlap_ms", &Stats::overlap_ms)
      .def_readonly("coordination_ms", &Stats::coordination_ms)
      .def_readonly("n_processor_calls", &Stats::n_processor_calls)
      .def_readonly("processor_ms", &Stats::processor_ms)
      .def_readonly("processor_wait_ms", &Stats::processor_wait_ms)
      .def_readonly("mode_reason", &Stats::mode_reason);
  add_counter<&Counters::n_generated>(stats, "n_generated");
  add_counter<&Counters::n_target_steps>(stats, "n_target_steps");
  add_counter<&Counters::n_draft_steps>(stats, "n_draft_steps");
  add_counter<&Counters::n_draft_lanes>(stats, "n_draft_lanes");
  add_counter<&Counters::n_drafted>(stats, "n_drafted");
  add_counter<&Counters::n_accepted>(stats, "n_accepted");
  add_counter<&Counters::n_rolled_back>(stats, "n_rolled_back");
  add_counter<&Counters::n_unresolved>(stats, "n_unresolved");
  add_counter<&Counters::n_all_drafted>(stats, "n_all_drafted");
  add_counter<&Counters::n_lookup_drafted>(stats, "n_lookup_drafted");
  add_counter<&Counters::n_lookup_accepted>(stats, "n_lookup_accepted");
  add_counter<&Counters::n_forced_drafted>(stats, "n_forced_drafted");
  add_counter<&Counters::n_forced_accepted>(stats, "n_forced_accepted");
  add_counter<&Counters::n_prediction_accepted>(stats, "n_prediction_accepted");
  add_counter<&Counters::n_prediction_rejected>(stats, "n_prediction_rejected");
  add_counter<&Counters::n_tree_steps>(stats, "n_tree_steps");
  add_counter<&Counters::n_branch_verified>(stats, "n_branch_verified");
  add_counter<&Counters::n_branches_taken>(stats, "n_branches_taken");
  add_counter<&Counters::n_branch_accepted>(stats, "n_branch_accepted");
  add_counter<&Counters::branch_hits>(stats, "branch_hits");
  add_counter<&Counters::branch_misses>(stats, "branch_misses");
  add_counter<&Counters::policy_skipped>(stats, "policy_skipped");
  add_counter<&Counters::acceptance_histogram>(stats, "acceptance_histogram");

  py::class_<EngineStats>(m, "EngineStats", "Totals over the generations that have ended.")
      .def_readonly("n_generations", &EngineStats::n_generations)
      .def_readonly("n_generated", &EngineStats::n_generated)
      .def_readonly("n_target_steps", &EngineStats::n_target_steps)
      .def_readonly("n_drafted", &EngineStats::n_drafted)
      .def_readonly("n_accepted", &EngineStats::n_accepted)
      .def_readonly("n_rolled_back", &EngineStats::n_rolled_back)
      .def_readonly("decode_ms", &EngineStats::decode_ms)
      .def_readonly("measure_costs_ms", &EngineStats::measure_costs_ms);
}

}  // namespace specbranch::bindings
