// What Linux and macOS share.
#ifndef _WIN32

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <system_error>

#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/system.h"

namespace specbranch::llama {
namespace {

std::string error_text(int code) { return std::generic_category().message(code); }

struct Job {
  const std::function<void()>* work;
  std::exception_ptr error;
};

void* run(void* data) noexcept {
  auto* job = static_cast<Job*>(data);
  try {
    (*job->work)();
  } catch (...) {
    job->error = std::current_exception();
  }
  return nullptr;
}

}  // namespace

void call_with_stack(std::size_t n_bytes, const std::function<void()>& work) {
  Job job{&work, nullptr};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_t thread{};
  const bool started = pthread_attr_setstacksize(&attributes, n_bytes) == 0 &&
                       pthread_create(&thread, &attributes, run, &job) == 0;
  pthread_attr_destroy(&attributes);
  if (!started) {
    throw InvalidArgument("[call_with_stack] the system has no thread with a stack of " +
                          std::to_string(n_bytes >> 20U) + " MiB");
  }
  pthread_join(thread, nullptr);
  if (job.error) std::rethrow_exception(job.error);
}

void set_environment_default(const char* name, const char* value) {
  ::setenv(name, value, 0);  // NOLINT(concurrency-mt-unsafe): see the header
}

void* open_library(const std::string& path, std::string& reason) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const text = dlerror();  // NOLINT(concurrency-mt-unsafe): each thread has its own
    reason = text == nullptr ? path : text;
  }
  return library;
}

void* find_symbol(void* library, const char* name) { return dlsym(library, name); }

ReadOnlyFile::~ReadOnlyFile() {
  if (handle_ >= 0) ::close(static_cast<int>(handle_));
}

std::string ReadOnlyFile::open(const std::string& path) {
  do {
    handle_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  } while (handle_ < 0 && errno == EINTR);
  return handle_ < 0 ? error_text(errno) : std::string();
}

std::optional<std::uint64_t> ReadOnlyFile::size(std::string& reason) const {
  struct stat status{};
  if (::fstat(static_cast<int>(handle_), &status) != 0) {
    reason = error_text(errno);
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(status.st_size);
}

std::string ReadOnlyFile::read(std::uint64_t offset, std::span<char> bytes) const {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::pread(static_cast<int>(handle_), bytes.data() + done, bytes.size() - done,
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error_text(errno);
    if (n == 0) return "it has become shorter";
    done += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace specbranch::llama

#endif
