#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `AdapterFile` and `inspect_adapter`; before `Engine`, which has such files.
void register_adapter(pybind11::module_& m);

}  // namespace specbranch::bindings
