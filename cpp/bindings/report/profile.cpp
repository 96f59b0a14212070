#include "bindings/report/profile.h"

#include <pybind11/stl.h>

#include "specbranch/report/profile.h"

namespace py = pybind11;

namespace specbranch::bindings {

void register_profile(py::module_& m) {
  py::class_<StepCosts>(m, "StepCosts", "Times of single steps, in microseconds.")
      .def(py::init<>())
      .def_readwrite("target_us", &StepCosts::target_us, "A verification of 1, 2 .. tokens.")
      .def_readwrite("draft_us", &StepCosts::draft_us, "A pass over 1, 2 .. sequences.")
      .def_readwrite("target_slowdown", &StepCosts::target_slowdown)
      .def_readwrite("draft_slowdown", &StepCosts::draft_slowdown)
      .def_property_readonly("known", &StepCosts::known);

  py::class_<AcceptanceTable>(m, "AcceptanceTable", "How often drafted tokens were right.")
      .def(py::init<>())
      .def_readwrite("hits", &AcceptanceTable::hits)
      .def_readwrite("expected", &AcceptanceTable::expected)
      .def_readwrite("seen", &AcceptanceTable::seen)
      .def_readwrite("rank_hits", &AcceptanceTable::rank_hits)
      .def_readwrite("rank_expected", &AcceptanceTable::rank_expected)
      .def_readwrite("first_hits", &AcceptanceTable::first_hits)
      .def_readwrite("first_count", &AcceptanceTable::first_count)
      .def_readwrite("beyond_hits", &AcceptanceTable::beyond_hits)
      .def_readwrite("beyond_expected", &AcceptanceTable::beyond_expected)
      .def_readwrite("beyond_trials", &AcceptanceTable::beyond_trials)
      .def_readwrite("beyond_wins", &AcceptanceTable::beyond_wins)
      .def_readwrite("beyond_first", &AcceptanceTable::beyond_first);

  py::class_<PairProfile>(m, "PairProfile", "What is known of a pair of models.")
      .def(py::init<>())
      .def_readwrite("costs", &PairProfile::costs)
      .def_readwrite("acceptance", &PairProfile::acceptance, "One table a temperature class.");
}

}  // namespace specbranch::bindings
