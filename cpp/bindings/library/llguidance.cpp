#include "bindings/library/llguidance.h"

#include <string>

#include "bindings/library/gil.h"
#include "specbranch/llama/runtime/llguidance.h"

namespace py = pybind11;

namespace specbranch::bindings {

void register_llguidance(py::module_& m) {
  m.attr("LLGUIDANCE_VERSION") = llama::Llguidance::kVersion;
  m.def(
      "load_llguidance",
      [](const py::bytes& path) {
        const std::string file = path;
        without_gil([&] {
          llama::Llguidance::load(file);
          return true;
        });
      },
      py::arg("path"),
      "Loads llguidance's functions from its extension module, and tries them. Raises "
      "InvalidArgument.");
}

}  // namespace specbranch::bindings
