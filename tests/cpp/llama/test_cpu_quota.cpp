// Quotas of control groups, in folders that look like the kernel's.
#include "specbranch/llama/runtime/cpu_quota.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

using specbranch::llama::cpu_quota;

namespace {

namespace fs = std::filesystem;

class Groups {
 public:
  Groups() : root_(fs::temp_directory_path() / ("cpu_quota." + std::to_string(getpid()))) {
    fs::create_directories(root_ / "mount");
  }
  ~Groups() { fs::remove_all(root_); }
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / "mount" / path).parent_path());
    std::ofstream(root_ / "mount" / path) << text;
  }
  void join(const std::string& lines) const { std::ofstream(root_ / "self") << lines; }
  std::optional<int> quota() const { return cpu_quota(root_ / "mount", root_ / "self"); }

 private:
  fs::path root_;
};

}  // namespace

TEST_CASE("without a quota, or without control groups, there is no limit") {
  const Groups groups;
  CHECK_FALSE(groups.quota());
  groups.join("0::/\n");
  groups.write("cpu.max", "max 100000\n");
  CHECK_FALSE(groups.quota());
  groups.write("cpu.max", "");
  CHECK_FALSE(groups.quota());
}

TEST_CASE("the own group's quota counts, rounded down, at least one") {
  const Groups groups;
  groups.write("cpu.max", "250000 100000\n");
  CHECK(groups.quota() == 2);  // inside a container: the mount is the own group
  groups.write("cpu.max", "50000 100000\n");
  CHECK(groups.quota() == 1);
}

TEST_CASE("the strictest of the groups above counts") {
  const Groups groups;
  groups.join("0::/user.slice/app.service\n");
  groups.write("user.slice/app.service/cpu.max", "800000 100000\n");
  CHECK(groups.quota() == 8);
  groups.write("user.slice/cpu.max", "300000 100000\n");
  CHECK(groups.quota() == 3);
  groups.write("user.slice/app.service/cpu.max", "max 100000\n");
  CHECK(groups.quota() == 3);
  groups.write("other.slice/cpu.max", "100000 100000\n");
  CHECK(groups.quota() == 3);
}

TEST_CASE("version 1 of control groups") {
  const Groups groups;
  groups.join("5:devices:/\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\nnonsense\n");
  groups.write("cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
  groups.write("cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
  CHECK_FALSE(groups.quota());
  groups.write("cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "400000\n");
  CHECK(groups.quota() == 4);
  groups.join("4:cpu,cpuacct:/../outside\n");
  CHECK_FALSE(groups.quota());
}
