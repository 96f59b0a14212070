#include "bindings/engine/processors.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/library/gil.h"
#include "specbranch/base/errors.h"
#include "specbranch/base/processor_channel.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

using Bits = py::array_t<std::uint32_t, py::array::c_style>;

/// The task's own copy of the tokens: functions may keep it.
py::array_t<std::int32_t> input_ids(const ProcessorTask& task) {
  static_assert(sizeof(Token) == sizeof(std::int32_t));
  return py::array_t<std::int32_t>(static_cast<py::ssize_t>(task.text.size()), task.text.data());
}

/// The row itself, which keeps it alive; None if the masks are asked.
std::optional<py::array_t<float>> scores(const ProcessorTask& task) {
  if (!task.row) return std::nullopt;
  using Owner = std::shared_ptr<std::vector<float>>;
  auto owner = std::make_unique<Owner>(task.row);
  const py::capsule base(owner.get(), [](void* held) { delete static_cast<Owner*>(held); });
  static_cast<void>(owner.release());  // NOLINT(bugprone-unused-return-value): the capsule's now
  return py::array_t<float>(static_cast<py::ssize_t>(task.row->size()), task.row->data(), base);
}

std::optional<ProcessorTask> next(ProcessorChannel& channel) {
  return without_gil([&] { return channel.next(); });
}

void answer_row(ProcessorChannel& channel, const ProcessorTask& task, bool ends) {
  without_gil([&] {
    channel.answer_row(task.id, ends);
    return true;
  });
}

void answer_mask(ProcessorChannel& channel, const ProcessorTask& task, const Bits& allowed) {
  TokenBits bits(allowed.data(), allowed.data() + allowed.size());
  without_gil([&] {
    channel.answer_mask(task.id, std::move(bits));
    return true;
  });
}

}  // namespace

void register_processors(py::module_& m) {
  py::class_<ProcessorTask>(m, "ProcessorTask", "A position at which functions are asked.")
      .def_readonly("id", &ProcessorTask::id)
      .def_property_readonly("input_ids", &input_ids, "The tokens before it: a new array.")
      .def_property_readonly("scores", &scores,
                             "The logits, to be edited in place; None: masks are asked.");

  py::class_<ProcessorChannel, std::shared_ptr<ProcessorChannel>>(
      m, "ProcessorChannel", "Asks functions of the caller for each choice of a generation.")
      .def(py::init<bool, bool>(), py::kw_only(), py::arg("masks"), py::arg("rows"))
      .def("next", &next, "Waits for the next task; None at the end. For one thread of its own.")
      .def("answer_row", &answer_row, py::arg("task"), py::arg("ends"),
           "The scores of the task are edited, or the text ends before them.")
      .def("answer_mask", &answer_mask, py::arg("task"), py::arg("allowed"),
           "Token t is allowed if bit t % 32 of word t // 32 is set.")
      .def(
          "fail",
          [](ProcessorChannel& channel, const ProcessorTask& task) { channel.fail(task.id); },
          py::arg("task"), "A function raised an exception.")
      .def("close", &ProcessorChannel::close, "No answer comes any more.")
      .def_property_readonly("failed_task", &ProcessorChannel::failed_task,
                             "The id of the task that made the generation fail.");
}

}  // namespace specbranch::bindings
