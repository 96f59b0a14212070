#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `ModelOptions` and `load_engine`.
void register_load(pybind11::module_& m);

}  // namespace specbranch::bindings
