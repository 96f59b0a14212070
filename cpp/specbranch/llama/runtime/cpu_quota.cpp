#include "specbranch/llama/runtime/cpu_quota.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace specbranch::llama {
namespace {

namespace fs = std::filesystem;

/// The limit of one group, in CPUs.
std::optional<double> limit_of(const fs::path& group) {
  double quota = 0.0;
  double period = 0.0;
  if (std::ifstream file(group / "cpu.max"); file) {
    // "max 100000" where there is none: that is no number.
    if (!(file >> quota >> period)) return std::nullopt;
  } else {
    std::ifstream quota_file(group / "cpu.cfs_quota_us");
    std::ifstream period_file(group / "cpu.cfs_period_us");
    if (!(quota_file >> quota) || !(period_file >> period)) return std::nullopt;
  }
  if (quota <= 0.0 || period <= 0.0) return std::nullopt;  // version 1 says -1
  return quota / period;
}

struct Place {
  fs::path mount;
  fs::path group;  ///< relative to it.
};

/// Folders in which this process's group may be found: those of version 2, of version 1's `cpu`
/// controller, and the mount itself, which is the own group inside a container.
std::vector<Place> places(const fs::path& mount, const fs::path& membership) {
  std::vector<Place> found{{mount, {}}, {mount / "cpu", {}}, {mount / "cpu,cpuacct", {}}};
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {
    // number ":" controllers ":" "/" path
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = fs::path(line.substr(second + 1)).relative_path();
    if (controllers.empty()) found.push_back({mount, group});
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');) {
      if (name != "cpu") continue;
      found.push_back({mount / controllers, group});
      if (controllers != name) found.push_back({mount / name, group});
    }
  }
  return found;
}

}  // namespace

std::optional<int> cpu_quota(const fs::path& mount, const fs::path& membership) {
  std::optional<double> least;
  for (const Place& place : places(mount, membership)) {
    fs::path group = place.mount;
    const auto look = [&] {
      const std::optional<double> limit = limit_of(group);
      if (limit) least = least ? std::min(*least, *limit) : *limit;
    };
    look();
    for (const fs::path& part : place.group) {
      if (part == "..") break;  // outside of this container's view
      group /= part;
      look();
    }
  }
  if (!least) return std::nullopt;
  return std::max(1, static_cast<int>(std::floor(*least)));
}

}  // namespace specbranch::llama
