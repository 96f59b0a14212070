#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace specbranch::bindings {

/// Makes every exception of the engine the class of the same name in `specbranch_cpp.errors`.
void register_errors(pybind11::module_& m);

/// Text from outside as a `str`: whatever is not UTF-8 becomes a backslash escape.
pybind11::str readable(const std::string& text);

}  // namespace specbranch::bindings
