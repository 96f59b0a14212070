#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `_FakeOptions` and `_fake_engine`: an engine without models, for the tests of the bindings.
void register_fake(pybind11::module_& m);

}  // namespace specbranch::bindings
