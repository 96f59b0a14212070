#include "specbranch/llama/runtime/cores.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "specbranch/llama/runtime/cpu_quota.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

namespace fs = std::filesystem;

/// A core with less than this share of the largest capacity is slow.
constexpr double kFastShare = 0.75;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// The numbers of a list such as "0-3,8"; what is no number ends it.
std::set<int> read_list(const fs::path& path) {
  std::set<int> found;
  std::istringstream parts(first_line(path));
  for (std::string part; std::getline(parts, part, ',');) {
    std::istringstream ends(part);
    int first = 0;
    int last = 0;
    char dash = 0;
    if (!(ends >> first)) break;
    if (!(ends >> dash >> last)) last = first;
    for (int cpu = first; cpu <= std::min(last, kMaxCpus - 1); ++cpu) found.insert(cpu);
  }
  return found;
}

std::optional<double> capacity(const fs::path& folder) {
  std::ifstream file(folder / "cpu_capacity");
  double value = 0.0;
  return file >> value && value > 0.0 ? std::optional(value) : std::nullopt;
}

}  // namespace

int Processor::n_usable() const {
  const int n_cores = std::max(1, static_cast<int>(cores.size()));
  return std::min(n_cores, std::max(1, quota.value_or(n_cores)));
}

std::vector<Core> Processor::fast_cores() const {
  std::vector<Core> fast;
  std::ranges::copy_if(cores, std::back_inserter(fast), &Core::is_fast);
  if (fast.size() == cores.size()) fast.clear();
  return fast;
}

Processor this_processor() { return {allowed_cores(), cpu_quota()}; }

std::vector<Core> read_cores(std::span<const int> cpus, const fs::path& devices) {
  const std::set<int> of_intel = read_list(devices / "cpu_core" / "cpus");
  std::map<int, double> capacities;
  std::vector<Core> cores;
  std::map<std::string, std::size_t> places;  // by the list of siblings
  for (const int cpu : cpus) {
    const fs::path folder = devices / "system" / "cpu" / ("cpu" + std::to_string(cpu));
    if (const auto found = capacity(folder)) capacities[cpu] = *found;
    std::string siblings = first_line(folder / "topology" / "thread_siblings_list");
    if (siblings.empty()) siblings = std::to_string(cpu);
    const auto [place, is_new] = places.try_emplace(std::move(siblings), cores.size());
    if (is_new) cores.emplace_back();
    cores[place->second].cpus.push_back(cpu);
  }
  double largest = 0.0;
  for (const auto& [cpu, value] : capacities) largest = std::max(largest, value);
  for (Core& core : cores) {
    const int cpu = core.cpus.front();
    if (!of_intel.empty()) {
      core.is_fast = of_intel.contains(cpu);
    } else if (const auto found = capacities.find(cpu); found != capacities.end()) {
      core.is_fast = found->second >= kFastShare * largest;
    }
  }
  return cores;
}

}  // namespace specbranch::llama
