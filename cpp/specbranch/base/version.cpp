#include "specbranch/base/version.h"

namespace specbranch {

std::string_view version() noexcept { return SPECBRANCH_VERSION; }

}  // namespace specbranch
