#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <optional>
#include <type_traits>
#include <utility>

namespace specbranch::bindings {

/// How long a call waits at most before it looks at signals again.
inline constexpr std::chrono::milliseconds kSlice{50};

/// Runs `work`, which must not touch Python, without the GIL; returns what it returns.
///
/// Not `py::gil_scoped_release`: a daemon thread that asks for the GIL while the interpreter
/// shuts down is ended by unwinding its stack, which a destructor cannot let through.
template <class Work>
auto without_gil(Work&& work) {
  PyThreadState* const state = PyEval_SaveThread();
  std::optional<std::invoke_result_t<Work>> result;
  try {
    result.emplace(std::forward<Work>(work)());
  } catch (...) {
    PyEval_RestoreThread(state);
    throw;
  }
  PyEval_RestoreThread(state);
  return std::move(*result);
}

/// Lets Python run the handlers of signals that came in; throws what they raise.
inline void check_signals() {
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
}

}  // namespace specbranch::bindings
