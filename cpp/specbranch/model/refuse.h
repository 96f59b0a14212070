/// The form of messages about settings that are out of range.
#pragma once

#include <sstream>
#include <string_view>

#include "specbranch/base/errors.h"

namespace specbranch {

/// Throws InvalidArgument `what is value; limit` unless `good`.
template <class T>
void require_setting(bool good, std::string_view what, const T& value, std::string_view limit) {
  if (good) return;
  std::ostringstream message;
  message << what << " is " << value << "; " << limit;
  throw InvalidArgument(message.str());
}

}  // namespace specbranch
