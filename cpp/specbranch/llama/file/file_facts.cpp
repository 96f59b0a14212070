#include "specbranch/llama/file/file_facts.h"

#include <utility>

#include "gguf.h"

namespace specbranch::llama {
namespace {

/// No size of a model is larger, and sums of products of two fit an integer.
constexpr std::int64_t kLargest = std::int64_t{1} << 30;

}  // namespace

FileFacts::FileFacts(const GgufReader& gguf, std::string arch)
    : gguf_(gguf),
      arch_(std::move(arch)),
      n_layers_(gguf.integer(key("block_count")).value_or(0)),
      n_embd_(gguf.integer(key("embedding_length")).value_or(0)) {}

void FileFacts::add_tensors(const GgufReader& part) {
  for (std::int64_t i = 0; i < gguf_get_n_tensors(part.get()); ++i) {
    const std::int64_t* shape = gguf_get_tensor_ne(part.get(), i);
    shapes_[gguf_get_tensor_name(part.get(), i)] = {shape[0], shape[1]};
  }
}

std::optional<std::int64_t> FileFacts::integer(std::string_view name) const {
  const auto value = gguf_.integer(key(name));
  if (value) check_size(name, *value);
  return value;
}

std::vector<std::int64_t> FileFacts::integers(std::string_view name) const {
  const auto values = gguf_.integers(key(name));
  for (const std::int64_t value : values) check_size(name, value);
  return values;
}

void FileFacts::check_size(std::string_view name, std::int64_t value) const {
  require(name, value, 0, kLargest);
}

std::optional<bool> FileFacts::flag(std::string_view name) const { return gguf_.flag(key(name)); }

bool FileFacts::has_any(const std::string& prefix) const {
  const auto found = shapes_.lower_bound(prefix);
  return found != shapes_.end() && found->first.starts_with(prefix);
}

std::optional<std::int64_t> FileFacts::n_columns(const std::string& tensor) const {
  const auto found = shapes_.find(tensor);
  return found == shapes_.end() ? std::nullopt : std::optional(found->second[0]);
}

std::optional<std::int64_t> FileFacts::n_rows(const std::string& tensor) const {
  const auto found = shapes_.find(tensor);
  return found == shapes_.end() ? std::nullopt : std::optional(found->second[1]);
}

std::string block(std::int64_t layer) { return "blk." + std::to_string(layer) + "."; }

std::optional<std::int64_t> of_layer(const std::vector<std::int64_t>& values, std::int64_t layer) {
  if (values.empty()) return std::nullopt;
  if (values.size() == 1) return values.front();
  const auto i = static_cast<std::size_t>(layer);
  return i < values.size() ? std::optional(values[i]) : std::nullopt;
}

}  // namespace specbranch::llama
