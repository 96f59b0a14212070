#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `Stats` of a generation and `EngineStats`, as the core counts them.
void register_stats(pybind11::module_& m);

}  // namespace specbranch::bindings
