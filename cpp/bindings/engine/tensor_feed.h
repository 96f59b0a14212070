#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "specbranch/base/channel.h"

namespace specbranch::bindings {

/// Hands the weights that a Python object computes to the thread that loads a model.
///
/// *Thread safety:* `fill` belongs to the loading thread, everything else to the one that loads on
/// behalf of Python, with the GIL: the loading thread never takes it.
/// *Lifecycle:* 1. any number of `fill`, each answered by a `serve`, 2. `stop`, if the loading ends
/// early, 3. the loading thread has ended.
class TensorFeed {
 public:
  /// `source.fill(name)` returns an array with the bytes of a tensor.
  explicit TensorFeed(pybind11::object source) : source_(std::move(source)) {}

  /// There is no source.
  bool empty() const { return source_.is_none(); }

  /// Waits until the bytes are there. `wake` is called once the request can be served. Throws
  /// ModelLoadError if the source fails or `stop` is called.
  void fill(const std::string& name, std::span<std::byte> bytes, const std::function<void()>& wake);

  /// Answers the request that waits, if there is one. What is no Exception in Python (Ctrl-C)
  /// comes out.
  void serve();

  void stop();

 private:
  struct Request {
    std::string name;
    std::span<std::byte> bytes;
  };

  pybind11::object source_;
  Channel<Request> requests_;
  Channel<std::string> answers_;  ///< why it failed; empty: it did not.
};

}  // namespace specbranch::bindings
