#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `ProcessorChannel` and `ProcessorTask`; before `Request`.
void register_processors(pybind11::module_& m);

}  // namespace specbranch::bindings
