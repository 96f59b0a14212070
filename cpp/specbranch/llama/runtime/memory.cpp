#include "specbranch/llama/runtime/memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

using Bytes = std::optional<std::uint64_t>;

/// The files of a memory controller, whose names differ between versions 1 and 2.
struct Files {
  const char* limit;
  const char* usage;
  const char* cache;  ///< entry of memory.stat.
};

constexpr Files kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr Files kVersion2{"memory.max", "memory.current", "inactive_file"};

/// The number in a one-line file; nothing if there is none ("max").
Bytes read_number(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? Bytes(value) : std::nullopt;
}

/// The number after the word `name` at the start of a line.
Bytes read_entry(const std::filesystem::path& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    std::uint64_t value = 0;
    if (words >> word >> value && word == name) return value;
  }
  return std::nullopt;
}

/// What one group has left.
Bytes left_in(const std::filesystem::path& folder, const Files& files) {
  const Bytes limit = read_number(folder / files.limit);
  const Bytes usage = read_number(folder / files.usage);
  if (!limit || !usage) return std::nullopt;
  // Cached files count as used, but give way.
  const std::uint64_t cache = read_entry(folder / "memory.stat", files.cache).value_or(0);
  const std::uint64_t used = *usage - std::min(*usage, cache);
  return *limit - std::min(*limit, used);
}

Bytes least(Bytes a, Bytes b) { return a && b ? std::min(*a, *b) : a ? a : b; }

/// The least that the group and those around it have left.
Bytes left_in_groups(const std::filesystem::path& root, const std::string& group,
                     const Files& files) {
  std::filesystem::path folder = root;
  Bytes left = left_in(folder, files);
  for (const std::filesystem::path& name : std::filesystem::path(group).relative_path()) {
    if (name == "..") break;  // a group beyond what this namespace shows
    folder /= name;
    left = least(left, left_in(folder, files));
  }
  return left;
}

bool has_memory(const std::string& controllers) {
  std::istringstream list(controllers);
  for (std::string name; std::getline(list, name, ',');) {
    if (name == "memory") return true;
  }
  return false;
}

}  // namespace

std::optional<std::uint64_t> available_memory(const std::string& proc, const std::string& cgroups) {
  Bytes available = read_entry(proc + "/meminfo", "MemAvailable:");
  if (available) *available <<= 10U;
  if (!available) available = free_memory();  // other systems have no such files
  // Lines such as "0::/a/b" (version 2) and "4:cpu,memory:/job" (version 1).
  std::ifstream file(proc + "/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      available = least(available, left_in_groups(cgroups, group, kVersion2));
    } else if (has_memory(controllers)) {
      available = least(available, left_in_groups(cgroups + "/memory", group, kVersion1));
    }
  }
  return available;
}

}  // namespace specbranch::llama
