#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// What files, devices and llama.cpp say about themselves: for `specbranch check`.
void register_info(pybind11::module_& m);

}  // namespace specbranch::bindings
