/// Typed access to a GGUF header; gguf.h itself aborts when a key has another type.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "specbranch/llama/runtime/handles.h"

namespace specbranch::llama {

class GgufReader {
 public:
  /// Throws ModelLoadError unless the file is a complete GGUF file; `with_weights` of false: but
  /// for the weights, which come from elsewhere.
  explicit GgufReader(const std::string& path, bool with_weights = true);

  const gguf_context* get() const { return gguf_.get(); }
  const std::string& path() const { return path_; }

  std::optional<std::string> text(const std::string& key) const;
  std::optional<std::int64_t> integer(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> flag(const std::string& key) const;
  /// A number, or an array of numbers; empty if the key is absent or holds something else.
  std::vector<std::int64_t> integers(const std::string& key) const;

  /// Refuses a value of `key` that is not in `low` to `high`.
  void require(const std::string& key, std::int64_t value, std::int64_t low,
               std::int64_t high) const;

  /// Throws ModelLoadError: "[Weights::load] what; path".
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  void check_complete(std::uint64_t file_bytes) const;

  std::string path_;
  GgufHandle gguf_;
};

}  // namespace specbranch::llama
