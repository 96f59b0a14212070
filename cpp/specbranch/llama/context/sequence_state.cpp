// Copies of recurrent states and of windows in host memory: LlamaContext::save_state and
// restore_state.
#include <exception>
#include <string>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/context/context.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/llama_call.h"

namespace specbranch::llama {
namespace {

constexpr llama_state_seq_flags kStateOnly = LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY;

}  // namespace

std::vector<std::uint8_t> LlamaContext::save_state(SeqId seq) {
  check_seq(seq, "save_state");
  if (!has_states()) throw PreconditionError("[LlamaContext::save_state] there is no state");
  const LlamaCall call;
  const ErrorCapture errors;
  std::vector<std::uint8_t> state(llama_state_seq_get_size_ext(context_.get(), seq, kStateOnly));
  const std::size_t n =
      llama_state_seq_get_data_ext(context_.get(), state.data(), state.size(), seq, kStateOnly);
  if (n == 0 || n != state.size()) {
    throw DecodeError("[LlamaContext::save_state] llama.cpp gave no state; " +
                      errors.reason("no reason given"));
  }
  return state;
}

void LlamaContext::restore_state(SeqId seq, Pos length, std::span<const std::uint8_t> state) {
  check_seq(seq, "restore_state");
  HashedTokens& tokens = contents_[static_cast<std::size_t>(seq)];
  if (!has_states() || length < 1 || length > static_cast<Pos>(tokens.size())) {
    throw PreconditionError("[LlamaContext::restore_state] no state of " + std::to_string(length) +
                            " tokens fits sequence " + std::to_string(seq) + ", which holds " +
                            std::to_string(tokens.size()));
  }
  const LlamaCall call;
  const ErrorCapture errors;
  const std::size_t n =
      llama_state_seq_set_data_ext(context_.get(), state.data(), state.size(), seq, kStateOnly);
  // The cells of the attention layers stay, and can be cut now that the state ends there.
  if (n != state.size() || !remove(seq, length)) {
    throw FatalError(
        "[LlamaContext::restore_state] llama.cpp did not take a state back; sequence " +
        std::to_string(seq) + "; " + errors.reason("no reason given"));
  }
  tokens.truncate(static_cast<std::size_t>(length));
  // With it came the windows.
  least_prefix_[static_cast<std::size_t>(seq)] = least_prefix_of(length);
  // It is no snapshot.
  last_begin_[static_cast<std::size_t>(seq)] = length;
  rolled_back_[static_cast<std::size_t>(seq)] = true;
}

}  // namespace specbranch::llama
