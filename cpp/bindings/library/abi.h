#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// Adds `_abi()`: what the extension was compiled with and what the loaded llama.cpp says it is.
/// It calls nothing of llama.cpp but its version functions, so it is safe to call after a mismatch.
void register_abi(pybind11::module_& m);

}  // namespace specbranch::bindings
