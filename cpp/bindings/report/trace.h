/// The record of a generation as Python sees it.
#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

void register_trace(pybind11::module_& m);

}  // namespace specbranch::bindings
