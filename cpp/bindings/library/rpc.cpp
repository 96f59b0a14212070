#include "bindings/library/rpc.h"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/library/gil.h"
#include "specbranch/llama/runtime/llama_call.h"
#include "specbranch/llama/runtime/rpc.h"

namespace py = pybind11;

namespace specbranch::bindings {

void register_rpc(py::module_& m) {
  m.def("has_rpc", &llama::has_rpc, "Whether llama.cpp was built with its RPC backend.");
  m.def(
      "add_rpc_server",
      [](const std::string& endpoint) {
        return without_gil([&] { return llama::add_rpc_server(endpoint); });
      },
      py::arg("endpoint"),
      "Connects to a server, and returns the names of its devices. If the connection fails, now or "
      "later, the process ends.");
  m.def(
      "serve_rpc",
      [](const std::string& endpoint, int n_threads, const std::vector<std::string>& devices) {
        without_gil([&] {
          llama::serve_rpc(endpoint, n_threads, devices);
          return true;
        });
      },
      py::arg("endpoint"), py::kw_only(), py::arg("n_threads"), py::arg("devices"),
      "Serves devices until the process ends; returns if it cannot listen.");
  m.def("quiet_s", &llama::LlamaCall::quiet_s,
        "Seconds since a call of llama.cpp began, got on or ended, if one runs now.");
}

}  // namespace specbranch::bindings
