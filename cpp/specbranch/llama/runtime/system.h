/// The calls of the operating system that the llama part needs. Each system implements them in a
/// file of its own: system_linux.cpp, system_macos.cpp (both with system_posix.cpp) and
/// system_windows.cpp. Nothing else in this part includes a header of a system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "specbranch/llama/runtime/cores.h"

namespace specbranch::llama {

/// Numbers of CPUs are smaller.
inline constexpr int kMaxCpus = 1024;

/// The cores that this process may use; at least one.
std::vector<Core> allowed_cores();

enum class Pinning {
  kDone,
  kRefused,     ///< this process may use none of the CPUs.
  kImpossible,  ///< this system does not bind a thread and those that it starts to CPUs.
};

/// Binds the calling thread, and those that it starts from now on, to these CPUs.
Pinning pin_thread(std::span<const int> cpus);

/// Free bytes of main memory where a call tells them; nothing on Linux, where files do
/// (memory.h).
std::optional<std::uint64_t> free_memory();

/// Sets a variable of the environment that is not set. Other threads must not read the environment
/// at the same time.
void set_environment_default(const char* name, const char* value);

/// Calls `work` on a thread whose stack has that many bytes, and waits for it. Throws what `work`
/// throws, or InvalidArgument if the system has no such thread.
void call_with_stack(std::size_t n_bytes, const std::function<void()>& work);

/// Loads a shared library, which stays loaded. Null: `reason` says why not.
void* open_library(const std::string& path, std::string& reason);
/// A function of a loaded library; null: it has none of this name.
void* find_symbol(void* library, const char* name);

/// A file to read at any place. Programs that this process starts do not inherit it.
///
/// *Thread safety:* one thread at a time.
class ReadOnlyFile {
 public:
  ReadOnlyFile() = default;
  ReadOnlyFile(const ReadOnlyFile&) = delete;
  ReadOnlyFile& operator=(const ReadOnlyFile&) = delete;
  ~ReadOnlyFile();

  /// Empty on success, else the system's reason.
  [[nodiscard]] std::string open(const std::string& path);
  /// The size in bytes. Nothing: `reason` says why.
  std::optional<std::uint64_t> size(std::string& reason) const;
  /// Fills `bytes` from `offset` on. Empty on success, else the reason.
  [[nodiscard]] std::string read(std::uint64_t offset, std::span<char> bytes) const;

 private:
  std::intptr_t handle_ = -1;  ///< a file descriptor, or a HANDLE; -1: not open.
};

}  // namespace specbranch::llama
