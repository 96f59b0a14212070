/// Weights that come from a function instead of a file.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace specbranch::llama {

/// Writes a tensor, row after row in the type that the metadata give it, into bytes that hold
/// until the call ends. Called on the loading thread, once or more for a tensor; what it throws
/// stops the loading and comes out unchanged.
using TensorFill = std::function<void(const std::string& name, std::span<std::byte> bytes)>;

}  // namespace specbranch::llama
