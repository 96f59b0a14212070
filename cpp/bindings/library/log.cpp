#include "bindings/library/log.h"

#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "bindings/library/errors.h"
#include "specbranch/llama/runtime/backend.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

/// The level of Python's `logging`.
int python_level(llama::LogLevel level) {
  switch (level) {
    case llama::LogLevel::kDebug:
      return 10;
    case llama::LogLevel::kInfo:
      return 20;
    case llama::LogLevel::kWarning:
      return 30;
    case llama::LogLevel::kError:
      return 40;
  }
  return 20;
}

std::vector<std::pair<int, py::str>> drain() {
  std::vector<std::pair<int, py::str>> lines;
  for (const llama::LogLine& line : llama::drain_log_lines()) {
    lines.emplace_back(python_level(line.level), readable(line.text));
  }
  return lines;
}

}  // namespace

void register_log(py::module_& m) {
  m.def("drain_log_lines", &drain,
        "Takes llama.cpp's log lines so far, oldest first, with the levels of `logging`.");
}

}  // namespace specbranch::bindings
