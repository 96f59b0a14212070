#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `simulate` and the plain data that it takes and gives; `specbranch_cpp.simulation` uses them.
void register_simulate(pybind11::module_& m);

}  // namespace specbranch::bindings
