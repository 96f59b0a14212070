#include "bindings/library/abi.h"

#include <pybind11/typing.h>

#include "specbranch/llama/runtime/abi.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

py::dict to_dict(const llama::LlamaVersions& versions) {
  py::dict info;
  info["llama_version"] = versions.llama;
  info["ggml_version"] = versions.ggml;
  info["ggml_commit"] = versions.ggml_commit;
  return info;
}

py::dict built() {
  const llama::LlamaBuild build = llama::compiled_llama();
  py::dict sizes;
  sizes["llama_model_params"] = build.model_params_size;
  sizes["llama_context_params"] = build.context_params_size;
  sizes["llama_batch"] = build.batch_size;
  sizes["ggml_threadpool_params"] = build.threadpool_params_size;

  py::dict info = to_dict(build.versions);
  info["headers"] = build.headers;
  info["struct_sizes"] = sizes;
  return info;
}

py::typing::Dict<py::str, py::typing::Dict<py::str, py::object>> abi() {
  py::typing::Dict<py::str, py::typing::Dict<py::str, py::object>> info;
  info["built"] = built();
  info["running"] = to_dict(llama::loaded_llama());
  return info;
}

}  // namespace

void register_abi(py::module_& m) {
  m.def("_abi", &abi, "What this extension was built with, and what llama.cpp was loaded.");
}

}  // namespace specbranch::bindings
