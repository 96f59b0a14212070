/// How much memory this process can still get.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace specbranch::llama {

/// Bytes: what the system has, or what the process's own control group and those around it leave if
/// that is less (beyond it the kernel kills). Nothing where the system does not tell.
/// The folders are those of Linux; others are for tests.
std::optional<std::uint64_t> available_memory(const std::string& proc = "/proc",
                                              const std::string& cgroups = "/sys/fs/cgroup");

}  // namespace specbranch::llama
