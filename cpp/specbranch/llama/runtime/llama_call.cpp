#include "specbranch/llama/runtime/llama_call.h"

#include <atomic>
#include <cstdint>

#include "specbranch/base/clock.h"

namespace specbranch::llama {
namespace {

struct Calls {
  std::atomic<int> n_running{0};
  std::atomic<std::int64_t> last_sign_us{0};
};

Calls& calls() noexcept {
  static Calls all;
  return all;
}

}  // namespace

LlamaCall::LlamaCall() noexcept {
  note_progress();
  calls().n_running.fetch_add(1);
}

LlamaCall::~LlamaCall() {
  calls().n_running.fetch_sub(1);
  note_progress();
}

void LlamaCall::note_progress() noexcept { calls().last_sign_us.store(now_us()); }

std::optional<double> LlamaCall::quiet_s() noexcept {
  if (calls().n_running.load() == 0) return std::nullopt;
  return static_cast<double>(now_us() - calls().last_sign_us.load()) * 1e-6;
}

}  // namespace specbranch::llama
