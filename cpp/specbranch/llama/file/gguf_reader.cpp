#include "specbranch/llama/file/gguf_reader.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "ggml.h"
#include "gguf.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/backend.h"

namespace specbranch::llama {
namespace {

std::optional<std::int64_t> integer_at(gguf_type type, const void* data, std::size_t i) {
  switch (type) {
    case GGUF_TYPE_UINT8:
      return static_cast<const std::uint8_t*>(data)[i];
    case GGUF_TYPE_INT8:
      return static_cast<const std::int8_t*>(data)[i];
    case GGUF_TYPE_UINT16:
      return static_cast<const std::uint16_t*>(data)[i];
    case GGUF_TYPE_INT16:
      return static_cast<const std::int16_t*>(data)[i];
    case GGUF_TYPE_UINT32:
      return static_cast<const std::uint32_t*>(data)[i];
    case GGUF_TYPE_INT32:
      return static_cast<const std::int32_t*>(data)[i];
    case GGUF_TYPE_UINT64:
      return static_cast<std::int64_t>(static_cast<const std::uint64_t*>(data)[i]);
    case GGUF_TYPE_INT64:
      return static_cast<const std::int64_t*>(data)[i];
    default:
      return std::nullopt;
  }
}

}  // namespace

GgufReader::GgufReader(const std::string& path, bool with_weights) : path_(path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) refuse("there is no such file");
  if (std::filesystem::is_directory(status)) refuse("this is a directory");
  // A pipe or a device would block the reader for ever.
  if (!std::filesystem::is_regular_file(status)) refuse("this is not a regular file");
  const std::uint64_t file_bytes = std::filesystem::file_size(path, error);
  if (error) refuse("the file's size cannot be read: " + error.message());
  if (file_bytes == 0) refuse("the file is empty");
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse("the file cannot be opened: " + std::generic_category().message(errno));
  char magic[4] = {};
  file.read(magic, sizeof magic);
  if (!file || std::memcmp(magic, GGUF_MAGIC, sizeof magic) != 0) {
    refuse("this is not a GGUF file");
  }
  file.close();

  install_log_sink();  // else the reason of a failure would be printed, and lost
  const ErrorCapture errors;
  try {
    gguf_.reset(gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, /*ctx=*/nullptr}));
  } catch (const std::exception& caught) {
    refuse(std::string("the GGUF header is damaged: ") + caught.what());
  }
  if (!gguf_) {
    refuse("the GGUF header is damaged or cut off: " + errors.reason("no reason was given"));
  }
  if (with_weights) check_complete(file_bytes);
}

void GgufReader::check_complete(std::uint64_t file_bytes) const {
  // llama.cpp maps the file: reading past its end is a bus error, not an exception.
  const std::uint64_t data = gguf_get_data_offset(gguf_.get());
  for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf_.get()); ++i) {
    const std::uint64_t end =
        data + gguf_get_tensor_offset(gguf_.get(), i) + gguf_get_tensor_size(gguf_.get(), i);
    if (end > file_bytes) {
      refuse("the file is truncated: tensor '" + std::string(gguf_get_tensor_name(gguf_.get(), i)) +
             "' ends at byte " + std::to_string(end) + ", the file has " +
             std::to_string(file_bytes));
    }
  }
}

std::optional<std::string> GgufReader::text(const std::string& key) const {
  const auto id = gguf_find_key(gguf_.get(), key.c_str());
  if (id < 0 || gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_STRING) return std::nullopt;
  return gguf_get_val_str(gguf_.get(), id);
}

std::optional<std::int64_t> GgufReader::integer(const std::string& key) const {
  const auto id = gguf_find_key(gguf_.get(), key.c_str());
  if (id < 0) return std::nullopt;
  const gguf_type type = gguf_get_kv_type(gguf_.get(), id);
  if (type == GGUF_TYPE_ARRAY || type == GGUF_TYPE_STRING) return std::nullopt;
  return integer_at(type, gguf_get_val_data(gguf_.get(), id), 0);
}

std::optional<double> GgufReader::number(const std::string& key) const {
  const auto id = gguf_find_key(gguf_.get(), key.c_str());
  if (id < 0) return std::nullopt;
  switch (gguf_get_kv_type(gguf_.get(), id)) {
    case GGUF_TYPE_FLOAT32:
      return gguf_get_val_f32(gguf_.get(), id);
    case GGUF_TYPE_FLOAT64:
      return gguf_get_val_f64(gguf_.get(), id);
    default:
      return std::nullopt;
  }
}

std::optional<bool> GgufReader::flag(const std::string& key) const {
  const auto id = gguf_find_key(gguf_.get(), key.c_str());
  if (id < 0 || gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_BOOL) return std::nullopt;
  return gguf_get_val_bool(gguf_.get(), id);
}

std::vector<std::int64_t> GgufReader::integers(const std::string& key) const {
  std::vector<std::int64_t> values;
  const auto id = gguf_find_key(gguf_.get(), key.c_str());
  if (id < 0) return values;
  if (gguf_get_kv_type(gguf_.get(), id) != GGUF_TYPE_ARRAY) {
    if (const auto value = integer(key)) values.push_back(*value);
    return values;
  }
  const gguf_type type = gguf_get_arr_type(gguf_.get(), id);
  if (type == GGUF_TYPE_STRING || type == GGUF_TYPE_ARRAY) return values;
  const void* data = gguf_get_arr_data(gguf_.get(), id);
  for (std::size_t i = 0; i < gguf_get_arr_n(gguf_.get(), id); ++i) {
    if (const auto value = integer_at(type, data, i)) values.push_back(*value);
  }
  return values;
}

void GgufReader::require(const std::string& key, std::int64_t value, std::int64_t low,
                         std::int64_t high) const {
  if (value >= low && value <= high) return;
  refuse(key + " is " + std::to_string(value) + ", not in " + std::to_string(low) + " to " +
         std::to_string(high));
}

void GgufReader::refuse(const std::string& what) const {
  throw ModelLoadError("[Weights::load] " + what + "; " + path_);
}

}  // namespace specbranch::llama
