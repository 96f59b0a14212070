#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `load_llguidance`, and the version that it expects.
void register_llguidance(pybind11::module_& m);

}  // namespace specbranch::bindings
