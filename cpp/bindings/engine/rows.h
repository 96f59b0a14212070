#pragma once

#include <pybind11/pybind11.h>

namespace specbranch::bindings {

/// `RowPadding`, `RowTrial`, `ExactRows`.
void register_row_padding(pybind11::module_& m);

/// `test_rows`; after `ModelOptions`.
void register_row_test(pybind11::module_& m);

}  // namespace specbranch::bindings
