/// How many CPUs the control groups of this process pay for. Private to the llama part.
#pragma once

#include <filesystem>
#include <optional>

namespace specbranch::llama {

/// CPUs by the strictest quota of this process's control group and of those above it, rounded down,
/// at least 1; nothing where there is no quota. Knows both versions of control groups (`cpu.max`;
/// `cpu.cfs_quota_us` and `cpu.cfs_period_us`). The paths are those of Linux unless a test says
/// otherwise. See https://docs.kernel.org/admin-guide/cgroup-v2.html and
/// https://docs.kernel.org/scheduler/sched-bwc.html.
std::optional<int> cpu_quota(const std::filesystem::path& mount = "/sys/fs/cgroup",
                             const std::filesystem::path& membership = "/proc/self/cgroup");

}  // namespace specbranch::llama
