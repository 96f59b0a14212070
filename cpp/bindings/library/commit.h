#pragma once

namespace specbranch::bindings {

/// The commit that the extension was built from; empty where the sources were no clone.
const char* build_commit();

}  // namespace specbranch::bindings
