// The cores of a processor, and the threads that models get on them.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "specbranch/base/process.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

namespace fs = std::filesystem;

/// A folder like Linux's /sys/devices.
class Devices {
 public:
  Devices() {
    static int number = 0;
    const std::string name = std::to_string(process_id()) + "." + std::to_string(number++);
    root_ = fs::temp_directory_path() / ("devices." + name);
    fs::create_directories(root_);
  }
  ~Devices() { fs::remove_all(root_); }
  Devices(const Devices&) = delete;
  Devices& operator=(const Devices&) = delete;

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << "\n";
  }
  void write_cpu(int cpu, const std::string& name, const std::string& text) const {
    write("system/cpu/cpu" + std::to_string(cpu) + "/" + name, text);
  }
  std::vector<Core> read(int n_cpus) const {
    std::vector<int> cpus(static_cast<std::size_t>(n_cpus));
    std::iota(cpus.begin(), cpus.end(), 0);
    return read_cores(cpus, root_);
  }

 private:
  fs::path root_;
};

std::vector<bool> which_are_fast(const std::vector<Core>& cores) {
  std::vector<bool> found;
  found.reserve(cores.size());
  for (const Core& core : cores) found.push_back(core.is_fast);
  return found;
}

/// A processor of `n_fast` fast cores with two CPUs each, and `n_slow` slow ones.
Processor processor(int n_fast, int n_slow = 0) {
  Processor made;
  for (int i = 0; i < n_fast; ++i) made.cores.push_back({{2 * i, 2 * i + 1}, true});
  for (int i = 0; i < n_slow; ++i) made.cores.push_back({{2 * n_fast + i}, false});
  return made;
}

}  // namespace

TEST_CASE("cores: without a description each CPU is a fast core") {
  const Devices devices;
  const std::vector<Core> found = devices.read(3);
  REQUIRE(found.size() == 3);
  CHECK(found[2].cpus == std::vector{2});
  CHECK(which_are_fast(found) == std::vector{true, true, true});
  CHECK(Processor{found, {}}.fast_cores().empty());  // there are no others
}

TEST_CASE("cores: hyper-threads name the same siblings") {
  const Devices devices;
  for (const int cpu : {0, 2}) devices.write_cpu(cpu, "topology/thread_siblings_list", "0,2");
  for (const int cpu : {1, 3}) devices.write_cpu(cpu, "topology/thread_siblings_list", "1,3");
  const std::vector<Core> found = devices.read(4);
  REQUIRE(found.size() == 2);
  CHECK(found[0].cpus == std::vector{0, 2});
  CHECK(found[1].cpus == std::vector{1, 3});
  const std::array allowed{1, 2};  // by the affinity mask
  CHECK(read_cores(allowed, "/nowhere").size() == 2);
}

TEST_CASE("cores: Intel lists its fast CPUs, ARM tells capacities") {
  const Devices intel;
  intel.write("cpu_core/cpus", "0-1,3");
  CHECK(which_are_fast(intel.read(5)) == std::vector{true, true, false, true, false});
  for (const char* const odd : {"", "x", "-", "9-"}) {
    intel.write("cpu_core/cpus", odd);
    CHECK(intel.read(2).size() == 2);
  }
  const Devices arm;
  int cpu = 0;
  for (const char* const capacity : {"446", "446", "871", "1024", "?"}) {
    arm.write_cpu(cpu++, "cpu_capacity", capacity);
  }
  CHECK(which_are_fast(arm.read(5)) == std::vector{false, false, true, true, true});
}

TEST_CASE("cores: the quota counts, and at least one core is usable") {
  Processor made = processor(4, 2);
  CHECK(made.n_usable() == 6);
  made.quota = 2;
  CHECK(made.n_usable() == 2);
  made.quota = 100;
  CHECK(made.n_usable() == 6);
  CHECK(Processor{}.n_usable() == 1);
  CHECK(made.fast_cores().size() == 4);
}

TEST_CASE("cores: this machine has some") {
  const std::vector<Core> found = allowed_cores();
  REQUIRE(!found.empty());
  for (const Core& core : found) {
    REQUIRE(!core.cpus.empty());
    CHECK(core.cpus.front() >= 0);
    CHECK(core.cpus.front() < kMaxCpus);
  }
  CHECK(usable_cores() >= 1);
  CHECK(usable_cores() <= static_cast<int>(found.size()));
}

TEST_CASE("threads: both models share the cores") {
  ModelOptions target;
  ModelOptions draft;
  plan_threads(target, &draft);
  CHECK(draft.n_threads >= 1);
  CHECK(target.n_threads >= 1);
  CHECK(target.n_threads + draft.n_threads <= std::max(2, usable_cores()));
  ModelOptions alone;
  alone.n_threads = 3;
  plan_threads(alone, nullptr);
  CHECK(alone.n_threads == 3);
  CHECK(alone.n_threads_batch == 3);
}

TEST_CASE("threads: a model on a device leaves the cores to the other one") {
  for (const bool devices : {true, false}) {
    ModelOptions target;
    ModelOptions draft;
    target.n_gpu_layers = -1;
    plan_threads(target, &draft, {devices, processor(8)});
    CHECK(target.n_threads == (devices ? 1 : 6));
    CHECK(draft.n_threads == (devices ? 7 : 2));
    CHECK(draft.cpus.empty());
  }
  ModelOptions target;
  ModelOptions draft;
  draft.n_gpu_layers = -1;
  plan_threads(target, &draft, {true, processor(8)});
  CHECK(draft.n_threads == 1);
  CHECK(target.n_threads == 7);
}

TEST_CASE("threads: models on devices need one each, alone or together") {
  for (const bool devices : {true, false}) {
    ModelOptions alone;
    alone.n_gpu_layers = -1;
    plan_threads(alone, nullptr, {devices, processor(8)});
    CHECK(alone.n_threads == (devices ? 1 : 8));

    ModelOptions target;
    ModelOptions draft;
    target.n_gpu_layers = draft.n_gpu_layers = -1;
    plan_threads(target, &draft, {devices, processor(8)});
    CHECK(target.n_threads == (devices ? 1 : 6));
    CHECK(draft.n_threads == (devices ? 1 : 2));
  }
  ModelOptions some;
  some.n_gpu_layers = 30;
  plan_threads(some, nullptr, {true, processor(8)});
  CHECK(some.n_threads == 8);
}

TEST_CASE("threads: attention over a cache on the CPU takes the cores") {
  ModelOptions target;
  target.n_gpu_layers = -1;
  target.offload_kqv = false;
  plan_threads(target, nullptr, {true, processor(8)});
  CHECK(target.n_threads == 8);

  ModelOptions beside = target;
  beside.n_threads = beside.n_threads_batch = 0;
  ModelOptions draft;
  draft.n_gpu_layers = -1;
  plan_threads(beside, &draft, {true, processor(8)});
  CHECK(beside.n_threads == 7);
  CHECK(draft.n_threads == 1);
}

TEST_CASE("threads: a draft beside a target on a device stays on fast cores") {
  const auto planned = [](const Processor& machine, ModelOptions target, ModelOptions draft) {
    target.n_gpu_layers = -1;
    plan_threads(target, &draft, {true, machine});
    return std::pair(target, draft);
  };
  const Processor hybrid = processor(4, 8);
  const auto [target, draft] = planned(hybrid, {}, {});
  CHECK(target.n_threads == 1);
  CHECK(target.cpus.empty());
  CHECK(draft.n_threads == 3);
  CHECK(draft.n_threads_batch == 3);
  CHECK(draft.cpus == std::vector{0, 1, 2, 3, 4, 5, 6, 7});

  Processor limited = hybrid;
  limited.quota = 2;
  CHECK(planned(limited, {}, {}).second.n_threads == 1);
  CHECK(planned(processor(1, 8), {}, {}).second.n_threads == 1);

  // What the caller has chosen stays.
  ModelOptions chosen;
  chosen.n_threads = 9;
  CHECK(planned(hybrid, {}, chosen).second.cpus.empty());
  CHECK(planned(hybrid, {}, chosen).second.n_threads == 9);
  ModelOptions pinned;
  pinned.cpus = {8, 9};
  CHECK(planned(hybrid, {}, pinned).second.cpus == std::vector{8, 9});
  CHECK(planned(hybrid, {}, pinned).second.n_threads == 2);
  CHECK(planned(hybrid, pinned, {}).second.cpus.empty());

  ModelOptions on_cpu;
  ModelOptions beside;
  plan_threads(on_cpu, &beside, {true, hybrid});  // no layers on devices
  CHECK(beside.cpus.empty());
  CHECK(on_cpu.n_threads + beside.n_threads == 12);
}

TEST_CASE("a file is read at any place") {
  const fs::path path = fs::temp_directory_path() / ("file." + std::to_string(process_id()));
  std::ofstream(path) << "0123456789";
  ReadOnlyFile file;
  REQUIRE(file.open(path.string()).empty());
  std::string reason;
  CHECK(file.size(reason) == 10);
  std::string found = "....";
  CHECK(file.read(3, found).empty());
  CHECK(found == "3456");
  CHECK(file.read(8, found) == "it has become shorter");
  fs::remove(path);
  ReadOnlyFile missing;
  CHECK(!missing.open(path.string()).empty());
}

}  // namespace specbranch::llama
