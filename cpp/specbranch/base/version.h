#pragma once

#include <string_view>

namespace specbranch {

/// The version of this project, e.g. "0.1.0".
std::string_view version() noexcept;

}  // namespace specbranch
