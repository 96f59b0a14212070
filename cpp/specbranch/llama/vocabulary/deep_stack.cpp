#include "specbranch/llama/vocabulary/deep_stack.h"

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>

#ifndef _WIN32
#include <pthread.h>
#endif

#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

enum class Kind : std::uint8_t { kLetter, kDigit, kBlank, kSign };

Kind kind_of(char letter) {
  const auto byte = static_cast<unsigned char>(letter);
  if (byte >= 0x80 || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z')) {
    return Kind::kLetter;
  }
  if (byte >= '0' && byte <= '9') return Kind::kDigit;
  const bool blank = byte == ' ' || (byte >= '\t' && byte <= '\r');
  return blank ? Kind::kBlank : Kind::kSign;
}

#ifndef _WIN32
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
#endif

}  // namespace

std::size_t longest_run(std::string_view text) {
  std::size_t longest = 0;
  std::size_t run = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    run = i > 0 && kind_of(text[i]) == kind_of(text[i - 1]) ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  return longest;
}

void call_with_stack(std::size_t n_bytes, const std::function<void()>& work) {
#ifdef _WIN32
  work();  // the standard library there counts its depth, and throws
#else
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
#endif
}

}  // namespace specbranch::llama
