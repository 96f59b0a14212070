#include "bindings/engine/tensor_feed.h"

#include <pybind11/numpy.h>

#include <cstring>
#include <optional>

#include "specbranch/base/errors.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

/// What an exception says, whatever characters it has.
std::string text_of(const py::error_already_set& error) {
  const py::object bytes = py::str(error.value()).attr("encode")("utf-8", "backslashreplace");
  return std::string(py::str(error.type().attr("__name__"))) + ": " + std::string(py::bytes(bytes));
}

}  // namespace

void TensorFeed::fill(const std::string& name, std::span<std::byte> bytes,
                      const std::function<void()>& wake) {
  requests_.send({name, bytes});
  wake();
  const std::optional<std::string> answer = answers_.receive();
  if (!answer) throw ModelLoadError("[TensorFeed::fill] the loading was stopped; " + name);
  if (!answer->empty()) throw ModelLoadError("[TensorFeed::fill] " + *answer + "; " + name);
}

void TensorFeed::serve() {
  const std::optional<Request> request = requests_.try_receive();
  if (!request) return;
  std::string failure;
  try {
    // Throws what makes an array of anything else impossible, which `ensure` would drop.
    const py::array given(source_.attr("fill")(py::str(request->name)));
    const auto values = py::array::ensure(given, py::array::c_style);
    const auto n_bytes = values ? static_cast<std::size_t>(values.nbytes()) : 0;
    if (n_bytes != request->bytes.size()) {
      failure = "the source gave " + std::to_string(n_bytes) + " bytes; " +
                std::to_string(request->bytes.size()) + " are needed";
    } else {
      std::memcpy(request->bytes.data(), values.data(), n_bytes);
    }
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;
    failure = "the source failed: " + text_of(error);
  }
  answers_.send(failure);
}

void TensorFeed::stop() {
  requests_.close();
  answers_.close();
}

}  // namespace specbranch::bindings
