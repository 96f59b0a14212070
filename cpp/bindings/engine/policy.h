#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `PolicyRequest`: a round as a policy written in Python sees it; `HradWeights`.
void register_policy(pybind11::module_& m);

}  // namespace specbranch::bindings
