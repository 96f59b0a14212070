#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `drain_log_lines` and `set_log_level`.
void register_log(pybind11::module_& m);

}  // namespace specbranch::bindings
