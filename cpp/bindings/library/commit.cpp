// A file of its own: a new commit compiles nothing else.
#include "bindings/library/commit.h"

namespace specbranch::bindings {

const char* build_commit() { return SPECBRANCH_COMMIT; }

}  // namespace specbranch::bindings
