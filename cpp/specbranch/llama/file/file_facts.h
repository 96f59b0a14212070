/// What the rules for model files compare: the settings of a file, and the shapes of its tensors.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "specbranch/llama/file/gguf_reader.h"

namespace specbranch::llama {

/// The settings of an architecture (`ARCH.NAME`), and the tensors of all parts of a model. The
/// reader must outlive it.
class FileFacts {
 public:
  FileFacts(const GgufReader& gguf, std::string arch);

  /// Notes the tensors of one part; the parts of a split model have tensors of their own.
  void add_tensors(const GgufReader& part);

  const std::string& arch() const { return arch_; }
  std::int64_t n_layers() const { return n_layers_; }
  std::int64_t n_embd() const { return n_embd_; }

  std::string key(std::string_view name) const { return arch_ + "." + std::string(name); }
  /// A size or a number of things. Refuses one that no model has: below 0 or above 2^30.
  std::optional<std::int64_t> integer(std::string_view name) const;
  std::vector<std::int64_t> integers(std::string_view name) const;
  std::optional<bool> flag(std::string_view name) const;

  bool has(const std::string& tensor) const { return shapes_.contains(tensor); }
  /// Whether a tensor's name begins with `prefix`.
  bool has_any(const std::string& prefix) const;
  /// The columns of a matrix: what a product with it takes.
  std::optional<std::int64_t> n_columns(const std::string& tensor) const;
  /// The rows of a matrix: what a product with it gives.
  std::optional<std::int64_t> n_rows(const std::string& tensor) const;

  /// Refuses a value of the setting that is not in `low` to `high`.
  void require(std::string_view name, std::int64_t value, std::int64_t low,
               std::int64_t high) const {
    gguf_.require(key(name), value, low, high);
  }

  [[noreturn]] void refuse(const std::string& what) const { gguf_.refuse(what); }

 private:
  void check_size(std::string_view name, std::int64_t value) const;

  const GgufReader& gguf_;
  std::string arch_;
  std::int64_t n_layers_;
  std::int64_t n_embd_;
  std::map<std::string, std::array<std::int64_t, 2>, std::less<>> shapes_;
};

inline std::string number(std::int64_t value) { return std::to_string(value); }

/// Whether a list of names, such as those of architectures, has this one.
template <class Range>
bool contains(const Range& range, std::string_view name) {
  return std::find(range.begin(), range.end(), name) != range.end();
}

/// `blk.LAYER.`, with which the names of a layer's tensors begin.
std::string block(std::int64_t layer);

/// The value of a layer in a setting that has one for all layers, or one for each.
std::optional<std::int64_t> of_layer(const std::vector<std::int64_t>& values, std::int64_t layer);

}  // namespace specbranch::llama
