#include "specbranch/llama/file/embedding_table.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>

#include "ggml.h"
#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

std::size_t row_bytes(const TensorPlace& place) {
  return ggml_row_size(static_cast<ggml_type>(place.type), place.n_columns);
}

}  // namespace

bool EmbeddingTable::can_read(const ModelFile& file) {
  const TensorPlace& place = file.embedding;
  if (place.n_rows < file.n_vocab || place.n_columns != file.n_embd) return false;
  const auto type = static_cast<ggml_type>(place.type);
  return type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float != nullptr;
}

EmbeddingTable::EmbeddingTable(const ModelFile& file) : place_(file.embedding) {
  const auto refuse = [&](const std::string& what) {
    throw ModelLoadError("[EmbeddingTable] " + what + "; " + place_.path);
  };
  if (!can_read(file)) refuse("the file has no embedding that can be read");
  std::string reason = file_.open(place_.path);
  if (!reason.empty()) refuse("the file cannot be opened: " + reason);
  bytes_.resize(row_bytes(place_));
  const std::uint64_t end =
      place_.offset + bytes_.size() * static_cast<std::uint64_t>(place_.n_rows);
  const std::optional<std::uint64_t> size = file_.size(reason);
  if (!size) refuse("the file cannot be examined: " + reason);
  if (size.value_or(0) < end) {
    refuse("the file has become shorter: the embedding ends at byte " + std::to_string(end) +
           ", the file has " + std::to_string(size.value_or(0)));
  }
}

void EmbeddingTable::read(Token token, std::span<float> row) {
  if (token < 0 || token >= n_tokens()) {
    throw PreconditionError("[EmbeddingTable::read] there is no such token; " +
                            std::to_string(token) + "; 0 to " + std::to_string(n_tokens() - 1));
  }
  if (row.size() != static_cast<std::size_t>(n_embd())) {
    throw PreconditionError("[EmbeddingTable::read] wrong size; " + std::to_string(row.size()) +
                            "; " + std::to_string(n_embd()));
  }
  const std::uint64_t begin = place_.offset + bytes_.size() * static_cast<std::uint64_t>(token);
  if (const std::string reason = file_.read(begin, bytes_); !reason.empty()) {
    throw DecodeError("[EmbeddingTable::read] the model's file cannot be read any more; " + reason +
                      "; " + place_.path);
  }
  const auto type = static_cast<ggml_type>(place_.type);
  if (type == GGML_TYPE_F32) {
    const auto* values = reinterpret_cast<const float*>(bytes_.data());
    std::copy_n(values, row.size(), row.begin());
  } else {
    ggml_get_type_traits(type)->to_float(bytes_.data(), row.data(),
                                         static_cast<std::int64_t>(row.size()));
  }
}

}  // namespace specbranch::llama
