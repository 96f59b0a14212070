#include "specbranch/llama/file/embedding_table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <system_error>

#include "ggml.h"
#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

std::size_t row_bytes(const TensorPlace& place) {
  return ggml_row_size(static_cast<ggml_type>(place.type), place.n_columns);
}

std::string reason(int code) { return std::generic_category().message(code); }

}  // namespace

bool EmbeddingTable::can_read(const ModelFile& file) {
  const TensorPlace& place = file.embedding;
  if (place.n_rows < file.n_vocab || place.n_columns != file.n_embd) return false;
  const auto type = static_cast<ggml_type>(place.type);
  return type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float != nullptr;
}

EmbeddingTable::EmbeddingTable(const ModelFile& file) : place_(file.embedding) {
  const auto refuse = [&](const std::string& what) {
    if (file_ >= 0) ::close(file_);
    throw ModelLoadError("[EmbeddingTable] " + what + "; " + place_.path);
  };
  if (!can_read(file)) refuse("the file has no embedding that can be read");
  do {
    file_ = ::open(place_.path.c_str(), O_RDONLY | O_CLOEXEC);
  } while (file_ < 0 && errno == EINTR);
  if (file_ < 0) refuse("the file cannot be opened: " + reason(errno));
  bytes_.resize(row_bytes(place_));
  const std::uint64_t end =
      place_.offset + bytes_.size() * static_cast<std::uint64_t>(place_.n_rows);
  struct stat status{};
  if (::fstat(file_, &status) != 0) refuse("the file cannot be examined: " + reason(errno));
  if (static_cast<std::uint64_t>(status.st_size) < end) {
    refuse("the file has become shorter: the embedding ends at byte " + std::to_string(end) +
           ", the file has " + std::to_string(status.st_size));
  }
}

EmbeddingTable::~EmbeddingTable() { ::close(file_); }

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
  for (std::size_t done = 0; done < bytes_.size();) {
    const ssize_t n = ::pread(file_, bytes_.data() + done, bytes_.size() - done,
                              static_cast<off_t>(begin + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw DecodeError("[EmbeddingTable::read] the model's file cannot be read any more; " +
                        (n < 0 ? reason(errno) : std::string("it has become shorter")) + "; " +
                        place_.path);
    }
    done += static_cast<std::size_t>(n);
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
