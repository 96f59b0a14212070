#include "specbranch/llama/file/split_model.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "gguf.h"
#include "llama.h"

namespace specbranch::llama {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as the kernel follows

std::string number(int i) { return std::to_string(i); }

/// The name of part `index` of those whose common begin is `prefix`.
std::string part_name(const std::string& prefix, int index, int n_parts) {
  std::vector<char> name(prefix.size() + 64);
  llama_split_path(name.data(), name.size(), prefix.c_str(), index, n_parts);
  return name.data();
}

/// The begin of the name of part `index`; none if this is not its name.
std::optional<std::string> prefix_of(const std::string& name, int index, int n_parts) {
  std::vector<char> prefix(name.size() + 1);
  if (llama_split_prefix(prefix.data(), prefix.size(), name.c_str(), index, n_parts) <= 0) {
    return std::nullopt;
  }
  return prefix.data();
}

/// As the Hugging Face cache keeps files: `blobs/HASH`, and links to it in `snapshots/COMMIT`.
std::optional<std::string> prefix_in_snapshots(const fs::path& blob, int index, int n_parts) {
  std::error_code error;
  if (blob.parent_path().filename() != "blobs") return std::nullopt;
  const fs::path snapshots = blob.parent_path().parent_path() / "snapshots";
  // Sorted, as the file system's order is nobody's.
  std::vector<std::string> found;
  for (fs::recursive_directory_iterator it(snapshots, error), end; !error && it != end;
       it.increment(error)) {
    const auto prefix = prefix_of(it->path().string(), index, n_parts);
    std::error_code ignored;
    if (prefix && fs::equivalent(it->path(), blob, ignored)) found.push_back(*prefix);
  }
  if (found.empty()) return std::nullopt;
  return *std::ranges::min_element(found);
}

/// The begin of the names of all parts, from any name of part `index`.
std::optional<std::string> find_prefix(const std::string& path, int index, int n_parts) {
  fs::path name = path;
  std::error_code error;
  for (int i = 0; i < kMostLinks; ++i) {
    if (auto prefix = prefix_of(name.string(), index, n_parts)) return prefix;
    if (!fs::is_symlink(fs::symlink_status(name, error)) || error) break;
    const fs::path next = fs::read_symlink(name, error);
    if (error) break;
    name = next.is_absolute() ? next : name.parent_path() / next;
  }
  return prefix_in_snapshots(fs::absolute(name, error).lexically_normal(), index, n_parts);
}

[[noreturn]] void refuse_part(const GgufReader& part, int index, int n_parts) {
  std::string first;
  if (const auto prefix = find_prefix(part.path(), index, n_parts)) {
    first = ", " + part_name(*prefix, 0, n_parts);
  }
  part.refuse("this is part " + number(index + 1) + " of the " + number(n_parts) +
              " parts of a split model; give the first part" + first);
}

/// Whether another GGUF file follows the last tensor of this one.
bool has_second_file(const GgufReader& part) {
  const gguf_context* gguf = part.get();
  const std::uint64_t data = gguf_get_data_offset(gguf);
  std::uint64_t end = data;
  for (std::int64_t i = 0; i < gguf_get_n_tensors(gguf); ++i) {
    end = std::max(end, data + gguf_get_tensor_offset(gguf, i) + gguf_get_tensor_size(gguf, i));
  }
  const std::uint64_t alignment = gguf_get_alignment(gguf);
  std::ifstream file(part.path(), std::ios::binary);
  for (const std::uint64_t at : {end, (end + alignment - 1) / alignment * alignment}) {
    std::array<char, 4> magic{};
    file.clear();
    file.seekg(static_cast<std::streamoff>(at));
    if (file.read(magic.data(), magic.size()) &&
        std::memcmp(magic.data(), GGUF_MAGIC, magic.size()) == 0) {
      return true;
    }
  }
  return false;
}

void refuse_joined(const GgufReader& part) {
  if (!has_second_file(part)) return;
  part.refuse(
      "the file holds several GGUF files, one behind the other; the parts of a split model must "
      "not be joined: keep them as files of their own in one folder, and give the first");
}

}  // namespace

std::vector<std::string> find_parts(const GgufReader& first) {
  const std::int64_t count = first.integer("split.count").value_or(1);
  if (count <= 1) return {first.path()};
  const std::int64_t index = first.integer("split.no").value_or(0);
  if (count > UINT16_MAX || index < 0 || index >= count) {
    first.refuse("the metadata says that this is part " + std::to_string(index + 1) + " of " +
                 std::to_string(count));
  }
  const auto n_parts = static_cast<int>(count);
  refuse_joined(first);
  if (index != 0) refuse_part(first, static_cast<int>(index), n_parts);
  const auto prefix = find_prefix(first.path(), 0, n_parts);
  if (!prefix) {
    first.refuse("this is the first of the " + number(n_parts) +
                 " parts of a split model, so its name must end in " + part_name("", 0, n_parts) +
                 ", and the other parts must be beside it");
  }
  std::vector<std::string> parts;
  for (int i = 0; i < n_parts; ++i) {
    parts.push_back(part_name(*prefix, i, n_parts));
    std::error_code error;
    if (!fs::exists(parts.back(), error)) {
      first.refuse("part " + number(i + 1) + " of " + number(n_parts) + " is missing, " +
                   parts.back());
    }
  }
  return parts;
}

void check_part(const GgufReader& part, int index, int n_parts) {
  // llama.cpp asserts the type of the number.
  const auto id = gguf_find_key(part.get(), "split.no");
  const bool is_typed = id >= 0 && gguf_get_kv_type(part.get(), id) == GGUF_TYPE_UINT16;
  if (!is_typed || part.integer("split.no") != index ||
      part.integer("split.count").value_or(n_parts) != n_parts) {
    part.refuse("the metadata does not say that this is part " + number(index + 1) + " of " +
                number(n_parts));
  }
  if (index > 0) refuse_joined(part);
}

ModelHandle load_parts(const std::vector<std::string>& parts, const llama_model_params& params) {
  if (parts.size() == 1) {
    return ModelHandle(llama_model_load_from_file(parts.front().c_str(), params));
  }
  std::vector<const char*> paths;
  paths.reserve(parts.size());
  for (const std::string& part : parts) paths.push_back(part.c_str());
  return ModelHandle(llama_model_load_from_splits(paths.data(), paths.size(), params));
}

}  // namespace specbranch::llama
