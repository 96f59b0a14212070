#include "bindings/library/adapter.h"

#include <string>

#include "bindings/library/errors.h"
#include "bindings/library/gil.h"
#include "specbranch/llama/file/adapter_file.h"

namespace py = pybind11;

namespace specbranch::bindings {

void register_adapter(py::module_& m) {
  using llama::AdapterFile;

  py::class_<AdapterFile>(m, "AdapterFile", "What the file of a LoRA adapter says.")
      .def_property_readonly("path", [](const AdapterFile& file) { return py::bytes(file.path); })
      .def_property_readonly("name", [](const AdapterFile& file) { return readable(file.name); })
      .def_property_readonly("task_name",
                             [](const AdapterFile& file) { return readable(file.task_name); })
      .def_property_readonly("prompt_prefix",
                             [](const AdapterFile& file) { return readable(file.prompt_prefix); })
      .def_readonly("alpha", &AdapterFile::alpha, "0: the factor is the scale alone.")
      .def_readonly("rank", &AdapterFile::rank, "The largest of its matrices.")
      .def_readonly("n_matrices", &AdapterFile::n_matrices, "Of the model, that it changes.")
      .def_readonly("n_bytes", &AdapterFile::n_bytes, "Of all its matrices.");
  m.def(
      "inspect_adapter",
      [](const py::bytes& path, const py::bytes& model) {
        return without_gil([path = std::string(path), model = std::string(model)] {
          return llama::inspect_adapter_file(path, llama::inspect_model_file(model),
                                             {.values = false});
        });
      },
      py::arg("path"), py::arg("model"),
      "Reads the headers of an adapter and of its model, and refuses what the engine would refuse, "
      "but for NaN.");
}

}  // namespace specbranch::bindings
