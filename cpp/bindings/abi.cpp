#include "abi.h"

#include <ggml-cpu.h>
#include <ggml.h>
#include <llama.h>
#include <pybind11/typing.h>

#include "llama_build_info.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

py::dict built() {
  py::dict sizes;
  sizes["llama_model_params"] = sizeof(llama_model_params);
  sizes["llama_context_params"] = sizeof(llama_context_params);
  sizes["llama_batch"] = sizeof(llama_batch);
  sizes["ggml_threadpool_params"] = sizeof(ggml_threadpool_params);

  py::dict info;
  info["llama_version"] = SPECBRANCH_LLAMA_VERSION;
  info["ggml_version"] = SPECBRANCH_GGML_VERSION;
  info["ggml_commit"] = SPECBRANCH_GGML_COMMIT;
  info["headers"] = SPECBRANCH_LLAMA_HEADERS;
  info["struct_sizes"] = sizes;
  return info;
}

py::dict running() {
  py::dict info;
  info["llama_version"] = llama_version();
  info["ggml_version"] = ggml_version();
  info["ggml_commit"] = ggml_commit();
  return info;
}

py::typing::Dict<py::str, py::typing::Dict<py::str, py::object>> abi() {
  py::typing::Dict<py::str, py::typing::Dict<py::str, py::object>> info;
  info["built"] = built();
  info["running"] = running();
  return info;
}

}  // namespace

void register_abi(py::module_& m) {
  m.def("_abi", &abi, "What this extension was built with, and what llama.cpp was loaded.");
}

}  // namespace specbranch::bindings
