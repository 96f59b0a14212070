/// The cores of the processor, and which of them are slow. Private to the llama part.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

namespace specbranch::llama {

/// One core.
struct Core {
  std::vector<int> cpus;  ///< its CPUs (hyper-threads) that this process may use.
  bool is_fast = true;    ///< false: an efficiency core of a hybrid processor.
};

/// What this process may use of the processor.
struct Processor {
  std::vector<Core> cores;
  std::optional<int> quota;  ///< CPUs that the control groups pay for; nothing: no limit.

  /// Cores that may be busy at the same time, at least 1.
  int n_usable() const;
  /// The fast cores, if others are slow; else none.
  std::vector<Core> fast_cores() const;
};

/// This machine's.
Processor this_processor();

/// Groups CPUs by core, as Linux describes them below `devices`. Without such a description each
/// CPU is a fast core. On a hybrid processor the files `cpu_core/cpus` (Intel) or `cpu_capacity`
/// (ARM) tell which cores are fast.
std::vector<Core> read_cores(std::span<const int> cpus,
                             const std::filesystem::path& devices = "/sys/devices");

}  // namespace specbranch::llama
