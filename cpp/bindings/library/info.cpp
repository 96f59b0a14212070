#include "bindings/library/info.h"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/library/errors.h"
#include "bindings/library/gil.h"
#include "specbranch/llama/context/context.h"
#include "specbranch/llama/context/sizes.h"
#include "specbranch/llama/file/gguf_reader.h"
#include "specbranch/llama/file/model_file.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/file/split_model.h"
#include "specbranch/llama/models/footprint.h"
#include "specbranch/llama/models/info.h"
#include "specbranch/llama/models/pair.h"
#include "specbranch/llama/runtime/memory.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

/// A member that a file or a driver wrote, as a `str` whatever its bytes are.
template <class T>
auto text(std::string T::* member) {
  return [member](const T& object) { return readable(object.*member); };
}

}  // namespace

void register_info(py::module_& m) {
  using llama::DeviceInfo;
  using llama::Footprint;
  using llama::LibraryInfo;
  using llama::MemoryShare;
  using llama::ModelFile;
  using llama::PairCheck;
  using llama::PairSizes;

  py::class_<LibraryInfo>(m, "LibraryInfo", "The llama.cpp that is loaded.")
      .def_property_readonly("llama_version",
                             [](const LibraryInfo& info) { return info.versions.llama; })
      .def_property_readonly("ggml_version",
                             [](const LibraryInfo& info) { return info.versions.ggml; })
      .def_property_readonly("ggml_commit",
                             [](const LibraryInfo& info) { return info.versions.ggml_commit; })
      .def_property_readonly("system", text(&LibraryInfo::system), "The instruction sets in use.");
  m.def("library_info", &llama::library_info);

  py::class_<DeviceInfo>(m, "DeviceInfo", "A device that layers may be put on; bytes of memory.")
      .def_property_readonly("name", text(&DeviceInfo::name))
      .def_property_readonly("description", text(&DeviceInfo::description))
      .def_readonly("is_gpu", &DeviceInfo::is_gpu)
      .def_readonly("is_integrated", &DeviceInfo::is_integrated, "A GPU in main memory.")
      .def_readonly("memory_free", &DeviceInfo::memory_free)
      .def_readonly("memory_total", &DeviceInfo::memory_total);
  // A device of another host is asked over the network: `quiet_s` must be seen meanwhile.
  m.def("list_devices", [] { return without_gil(llama::list_devices); });

  py::class_<ModelFile>(m, "ModelFile", "What a GGUF file says about its model.")
      .def_property_readonly("architecture", text(&ModelFile::architecture))
      .def_property_readonly("name", text(&ModelFile::name))
      .def_readonly("quantization", &ModelFile::quantization,
                    "The type of most of the weights' bytes.")
      .def_readonly("uniform_weights", &ModelFile::uniform_weights, "Every matrix has that type.")
      .def_readonly("n_parameters", &ModelFile::n_parameters)
      .def_readonly("weight_bytes", &ModelFile::weight_bytes)
      .def_readonly("n_layers", &ModelFile::n_layers)
      .def_readonly("n_embd", &ModelFile::n_embd)
      .def_readonly("n_vocab", &ModelFile::n_vocab)
      .def_readonly("n_ctx_train", &ModelFile::n_ctx_train)
      .def_readonly("n_positions", &ModelFile::n_positions,
                    "Positions that it has learned a vector for; 0: it needs none.");
  m.def(
      "inspect_model",
      [](const py::bytes& path) {
        return without_gil([path = std::string(path)] { return llama::inspect_model_file(path); });
      },
      py::arg("path"), "Reads the header, and refuses what the engine would refuse.");
  m.def(
      "context_length",
      [](const ModelFile& file, const llama::ModelOptions& options) {
        return llama::context_length(file, options);
      },
      py::arg("file"), py::arg("options"), "Positions that a text may have with these options.");

  m.def(
      "model_parts",
      [](const py::bytes& path) {
        const auto parts = without_gil([path = std::string(path)] {
          return llama::find_parts(llama::GgufReader(path, /*with_weights=*/false));
        });
        return std::vector<py::bytes>(parts.begin(), parts.end());
      },
      py::arg("path"), "The paths of all files of a model, in order; one if it is not split.");

  py::class_<PairCheck>(m, "PairCheck", "What a target and a draft can do together.")
      .def_readonly("n_common", &PairCheck::n_common, "Both vocabularies have the ids below it.")
      .def_readonly("n_different", &PairCheck::n_different,
                    "Of these, the ids with another text in the draft.")
      .def_property_readonly(
          "notes",
          [](const PairCheck& check) {
            std::vector<py::str> notes;
            notes.reserve(check.notes.size());
            for (const std::string& note : check.notes) notes.push_back(readable(note));
            return notes;
          },
          "What differs and does not matter, a sentence each.");
  m.def(
      "check_pair",
      [](const py::bytes& target, const py::bytes& draft) {
        return without_gil([target = std::string(target), draft = std::string(draft)] {
          return llama::check_pair(target, draft);
        });
      },
      py::arg("target"), py::arg("draft"),
      "Compares the vocabularies without loading weights; raises IncompatibleModels.");

  m.def(
      "available_memory",
      [](const py::bytes& proc, const py::bytes& cgroups) {
        return llama::available_memory(proc, cgroups);
      },
      py::arg("proc") = py::bytes("/proc"), py::arg("cgroups") = py::bytes("/sys/fs/cgroup"),
      "Bytes that this process can still get; None where the system does not tell.");

  py::class_<MemoryShare>(m, "MemoryShare", "What a model has in one memory, in bytes.")
      .def(py::init([](std::string device, std::uint64_t weights, std::uint64_t repacked,
                       std::uint64_t context, std::uint64_t compute, std::uint64_t outputs,
                       std::uint64_t adapters, std::uint64_t checkpoints) {
             return MemoryShare{std::move(device), weights, repacked, context,
                                compute,           outputs, adapters, checkpoints};
           }),
           py::arg("device"), py::kw_only(), py::arg("weights") = 0, py::arg("repacked") = 0,
           py::arg("context") = 0, py::arg("compute") = 0, py::arg("outputs") = 0,
           py::arg("adapters") = 0, py::arg("checkpoints") = 0, "For stand-ins of devices.")
      .def_property_readonly("device", text(&MemoryShare::device), "`CPU`: main memory.")
      .def_readonly("weights", &MemoryShare::weights, "As they are in the file.")
      .def_readonly("repacked", &MemoryShare::repacked, "Copies of weights for this CPU.")
      .def_readonly("context", &MemoryShare::context, "KV cells and recurrent states.")
      .def_readonly("compute", &MemoryShare::compute, "Buffers of a forward pass.")
      .def_readonly("outputs", &MemoryShare::outputs, "Rows of logits.")
      .def_readonly("adapters", &MemoryShare::adapters, "LoRA adapters.")
      .def_readonly("checkpoints", &MemoryShare::checkpoints, "States of prompts, at most.")
      .def_property_readonly("total", &MemoryShare::total);
  py::class_<Footprint>(m, "Footprint", "The buffers that llama.cpp allocates for a model.")
      .def(py::init([](MemoryShare host, std::vector<MemoryShare> devices, int n_layers) {
             return Footprint{std::move(host), std::move(devices), n_layers};
           }),
           py::arg("host"), py::arg("devices"), py::arg("n_layers"), "For stand-ins of devices.")
      .def_readonly("host", &Footprint::host)
      .def_readonly("devices", &Footprint::devices, "Those that the options allow.")
      .def_readonly("n_layers", &Footprint::n_layers,
                    "Layers that can be on devices: the blocks and the output.");
  m.def(
      "target_footprint",
      [](const llama::ModelOptions& options, int max_draft, int max_branches, int n_parallel,
         bool with_weights) {
        llama::TargetOptions target;
        target.max_batch =
            llama::pair_sizes(max_draft, max_branches, options, n_parallel).max_verify;
        target.n_seq = n_parallel;
        target.max_branches = llama::kMostBranches;
        return without_gil([&] { return llama::target_footprint(options, target, with_weights); });
      },
      py::arg("options"), py::kw_only(), py::arg("max_draft"), py::arg("max_branches"),
      py::arg("n_parallel") = 1, py::arg("with_weights") = true,
      "What llama.cpp would allocate for the target of an engine, without loading it. Raises what "
      "loading raises.");
  m.def(
      "draft_footprint",
      [](const llama::ModelOptions& options, int max_draft, int max_branches, int n_parallel,
         bool with_weights) {
        const PairSizes sizes = llama::pair_sizes(max_draft, max_branches, options, n_parallel);
        llama::check_draft_batch(options, sizes, max_branches);
        llama::DraftOptions draft;
        draft.n_seq = sizes.n_seq;
        draft.reserve = sizes.reserve;
        draft.n_texts = n_parallel;
        return without_gil([&] { return llama::draft_footprint(options, draft, with_weights); });
      },
      py::arg("options"), py::kw_only(), py::arg("max_draft"), py::arg("max_branches"),
      py::arg("n_parallel") = 1, py::arg("with_weights") = true, "The same for the draft.");

  py::class_<PairSizes>(m, "PairSizes", "What the contexts of a pair need room for.")
      .def_readonly("max_verify", &PairSizes::max_verify, "Tokens of one verification at most.")
      .def_readonly("n_seq", &PairSizes::n_seq, "Sequences of the draft.")
      .def_readonly("reserve", &PairSizes::reserve, "Cells of the draft beyond its context.");
  m.def("pair_sizes", &llama::pair_sizes, py::arg("max_draft"), py::arg("max_branches"),
        py::arg("draft"), py::arg("n_parallel") = 1, "As the engine sizes them.");
}

}  // namespace specbranch::bindings
