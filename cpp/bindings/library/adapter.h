#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `AdapterFile` and `inspect_adapter`.
void register_adapter(pybind11::module_& m);

}  // namespace specbranch::bindings
