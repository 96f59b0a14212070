#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// Devices of other hosts, and whether llama.cpp hangs.
void register_rpc(pybind11::module_& m);

}  // namespace specbranch::bindings
