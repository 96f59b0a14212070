#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `Request`: one call of `Engine.generate`, checked in the core when it is submitted.
void register_request(pybind11::module_& m);

}  // namespace specbranch::bindings
