// Compiled, never run: see "Other systems" in docs/guide/install.md.
#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <algorithm>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

std::string last_error() {
  return std::system_category().message(static_cast<int>(GetLastError()));
}

HANDLE to_handle(std::intptr_t handle) { return reinterpret_cast<HANDLE>(handle); }

/// UTF-8 to UTF-16. Empty: the text is not UTF-8.
std::wstring wide(const std::string& text) {
  const int n = static_cast<int>(text.size());
  const int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text.data(), n, nullptr, 0);
  std::wstring found(static_cast<std::size_t>(std::max(0, length)), L'\0');
  MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text.data(), n, found.data(), length);
  return found;
}

}  // namespace

std::vector<Core> allowed_cores() {
  DWORD_PTR mask = 0;
  DWORD_PTR of_system = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &mask, &of_system)) mask = 0;
  DWORD size = 0;
  GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &size);
  std::vector<char> bytes(size);
  std::vector<Core> cores;
  std::vector<int> classes;
  const auto at = [&](DWORD offset) {
    return reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(bytes.data() + offset);
  };
  if (size > 0 && GetLogicalProcessorInformationEx(RelationProcessorCore, at(0), &size)) {
    for (DWORD offset = 0; offset < size; offset += at(offset)->Size) {
      const PROCESSOR_RELATIONSHIP& one = at(offset)->Processor;
      Core core;
      // The affinity mask is that of the first group, which has 64 CPUs at most.
      for (int cpu = 0; cpu < 64 && one.GroupMask[0].Group == 0; ++cpu) {
        const auto bit = static_cast<KAFFINITY>(1) << cpu;
        if ((one.GroupMask[0].Mask & bit) != 0 && (mask == 0 || (mask & bit) != 0)) {
          core.cpus.push_back(cpu);
        }
      }
      if (core.cpus.empty()) continue;
      cores.push_back(core);
      classes.push_back(one.EfficiencyClass);
    }
  }
  const int fastest = classes.empty() ? 0 : *std::ranges::max_element(classes);
  for (std::size_t i = 0; i < cores.size(); ++i) cores[i].is_fast = classes[i] == fastest;
  if (cores.empty()) {
    const int n = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    for (int cpu = 0; cpu < n; ++cpu) cores.push_back({{cpu}, true});
  }
  return cores;
}

/// A thread can be bound, but those that it starts do not inherit the mask, so llama.cpp's would
/// run anywhere.
Pinning pin_thread(std::span<const int> /*cpus*/) { return Pinning::kImpossible; }

std::optional<std::uint64_t> free_memory() {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  if (!GlobalMemoryStatusEx(&status)) return std::nullopt;
  return status.ullAvailPhys;
}

// The standard library there counts how deep it is, and throws.
void call_with_stack(std::size_t /*n_bytes*/, const std::function<void()>& work) { work(); }

void set_environment_default(const char* name, const char* value) {
  if (std::getenv(name) == nullptr) _putenv_s(name, value);
}

void* open_library(const std::string& path, std::string& reason) {
  const HMODULE library = LoadLibraryW(wide(path).c_str());
  if (library == nullptr) reason = last_error();
  return library;
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

ReadOnlyFile::~ReadOnlyFile() {
  if (handle_ != -1) CloseHandle(to_handle(handle_));
}

std::string ReadOnlyFile::open(const std::string& path) {
  const HANDLE handle = CreateFileW(wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr,
                                    OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  handle_ = reinterpret_cast<std::intptr_t>(handle);  // INVALID_HANDLE_VALUE is -1
  return handle == INVALID_HANDLE_VALUE ? last_error() : std::string();
}

std::optional<std::uint64_t> ReadOnlyFile::size(std::string& reason) const {
  LARGE_INTEGER found{};
  if (!GetFileSizeEx(to_handle(handle_), &found)) {
    reason = last_error();
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(found.QuadPart);
}

std::string ReadOnlyFile::read(std::uint64_t offset, std::span<char> bytes) const {
  for (std::size_t done = 0; done < bytes.size();) {
    OVERLAPPED place{};
    place.Offset = static_cast<DWORD>((offset + done) & 0xFFFFFFFFU);
    place.OffsetHigh = static_cast<DWORD>((offset + done) >> 32U);
    const auto wanted = static_cast<DWORD>(std::min<std::size_t>(bytes.size() - done, 1U << 30U));
    DWORD n = 0;
    if (!ReadFile(to_handle(handle_), bytes.data() + done, wanted, &n, &place)) {
      if (GetLastError() != ERROR_HANDLE_EOF) return last_error();
      n = 0;
    }
    if (n == 0) return "it has become shorter";
    done += n;
  }
  return {};
}

}  // namespace specbranch::llama

#endif
