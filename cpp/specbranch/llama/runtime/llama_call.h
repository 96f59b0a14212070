/// Whether this process waits for llama.cpp in vain.
#pragma once

#include <optional>

namespace specbranch::llama {

/// While alive, this thread is inside a call of llama.cpp that may take long: it loads weights,
/// creates a context, or computes. A device of another host can make such a call hang for good.
///
/// *Thread safety:* any thread may have one, and ask.
class LlamaCall {
 public:
  LlamaCall() noexcept;
  ~LlamaCall();
  LlamaCall(const LlamaCall&) = delete;
  LlamaCall& operator=(const LlamaCall&) = delete;

  /// The call that runs gets on.
  static void note_progress() noexcept;

  /// Seconds since a call began, got on or ended, if one runs now. Nothing: none does.
  static std::optional<double> quiet_s() noexcept;
};

}  // namespace specbranch::llama
