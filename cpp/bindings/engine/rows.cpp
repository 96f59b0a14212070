#include "bindings/engine/rows.h"

#include <pybind11/stl.h>

#include <atomic>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "bindings/library/gil.h"
#include "specbranch/base/channel.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/models/exact_target.h"
#include "specbranch/llama/models/row_padding.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

using llama::ExactRows;
using llama::ModelOptions;
using llama::RowPadding;
using llama::RowTrial;
using llama::Weights;

/// Runs on a thread of its own, so that a signal on this one can end it.
std::vector<RowTrial> test_rows(ModelOptions options, int max_path) {
  llama::validate(options);
  llama::plan_threads(options, nullptr);
  std::atomic<bool> stop{false};
  std::exception_ptr error;
  std::vector<RowTrial> trials;
  Channel<bool> done;
  std::jthread tester([&] {
    try {
      const auto weights = Weights::load(options, [&](float) { return !stop.load(); });
      const llama::RowTest test{max_path, llama::kRowMultiples, /*all=*/true,
                                [&] { return stop.load(); }};
      trials = llama::test_rows(weights, options, test);
    } catch (...) {
      error = std::current_exception();
    }
    done.send(true);
  });
  const auto join = [&] {
    return without_gil([&] {
      tester.join();
      return true;
    });
  };
  try {
    while (!without_gil([&] { return done.receive_for(kSlice); })) check_signals();
  } catch (...) {
    stop.store(true);
    join();
    throw;
  }
  join();
  if (error) std::rethrow_exception(error);
  return trials;
}

}  // namespace

void register_row_padding(py::module_& m) {
  py::class_<RowPadding>(m, "RowPadding", "How the target's batches are padded.")
      .def(py::init([](int multiple, int max_path) { return RowPadding{multiple, max_path}; }),
           py::arg("multiple"), py::arg("max_path"))
      .def_readonly("multiple", &RowPadding::multiple,
                    "Batches are filled up with dummy tokens to a multiple of this.")
      .def_readonly("max_path", &RowPadding::max_path,
                    "Tokens of a verification at most, dummy tokens not counted.");

  py::class_<RowTrial>(m, "RowTrial", "One multiple, tried on a model.")
      .def_readonly("padding", &RowTrial::padding)
      .def_readonly("single_us", &RowTrial::single_us,
                    "Microseconds of a step over one token, padded.")
      .def_readonly("path_us", &RowTrial::path_us,
                    "Microseconds of a step over USEFUL_PATH tokens, or over `padding.max_path`.");
  m.attr("USEFUL_PATH") = llama::kUsefulPath;

  py::class_<ExactRows>(m, "ExactRows", "What was found for a model on this machine.")
      .def_readonly("padding", &ExactRows::padding)
      .def_readonly("repacked", &ExactRows::repacked, "With llama.cpp's repacked weights.");
}

void register_row_test(py::module_& m) {
  m.def("test_rows", &test_rows, py::arg("options"), py::kw_only(), py::arg("max_path"),
        "Loads a model and tries every multiple: up to which length the rows of a batch have the "
        "bits of single tokens.");
  m.def(
      "best_trial", [](const std::vector<RowTrial>& trials) { return llama::best_trial(trials); },
      py::arg("trials"), "The index of the best trial; None without a path of two tokens.");
  m.def("needs_nothing", &llama::needs_nothing, py::arg("trial"), py::arg("max_path"),
        "Whether single tokens agree with paths of every length as they are.");
}

}  // namespace specbranch::bindings
