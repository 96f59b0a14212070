#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `StepCosts`, `AcceptanceTable` and `PairProfile`.
void register_profile(pybind11::module_& m);

}  // namespace specbranch::bindings
