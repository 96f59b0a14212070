// Copies of whole sequences in host memory: LlamaContext::copy_out and copy_in.
#include "specbranch/llama/context/sequence_copy.h"

#include <memory>
#include <string>
#include <utility>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/context/context.h"
#include "specbranch/llama/runtime/backend.h"
#include "specbranch/llama/runtime/llama_call.h"

namespace specbranch::llama {
namespace {

constexpr llama_state_seq_flags kWhole = LLAMA_STATE_SEQ_FLAGS_NONE;

}  // namespace

std::size_t LlamaContext::copy_bytes(SeqId seq) {
  check_seq(seq, "copy_bytes");
  const LlamaCall call;
  return llama_state_seq_get_size_ext(context_.get(), seq, kWhole);
}

SequenceCopy LlamaContext::copy_out(SeqId seq) {
  check_seq(seq, "copy_out");
  const LlamaCall call;
  const ErrorCapture errors;
  SequenceCopy copy{held(seq), nullptr, copy_bytes(seq)};
  copy.bytes = std::make_unique_for_overwrite<std::uint8_t[]>(copy.n_bytes);
  const std::size_t n =
      llama_state_seq_get_data_ext(context_.get(), copy.bytes.get(), copy.n_bytes, seq, kWhole);
  if (n == 0 || n != copy.n_bytes) {
    throw DecodeError("[LlamaContext::copy_out] llama.cpp gave no copy of sequence " +
                      std::to_string(seq) + "; " + errors.reason("no reason given"));
  }
  return copy;
}

bool LlamaContext::copy_in(SeqId seq, const SequenceCopy& copy) {
  check_seq(seq, "copy_in");
  HashedTokens& tokens = contents_[static_cast<std::size_t>(seq)];
  if (tokens.size() > 0) {
    throw PreconditionError("[LlamaContext::copy_in] sequence " + std::to_string(seq) +
                            " is not empty; it holds " + std::to_string(tokens.size()));
  }
  HashedTokens copied = copy.tokens;
  const LlamaCall call;
  const ErrorCapture errors;
  ++n_memory_calls_;
  const std::size_t n =
      llama_state_seq_set_data_ext(context_.get(), copy.bytes.get(), copy.n_bytes, seq, kWhole);
  if (n != copy.n_bytes) {
    if (remove(seq, 0)) return false;
    throw FatalError("[LlamaContext::copy_in] llama.cpp could not empty sequence " +
                     std::to_string(seq) + "; " + errors.reason("no reason given"));
  }
  if (is_guarded(seq)) this->copy(seq, guard_of(seq), -1, -1);
  tokens = std::move(copied);
  last_begin_[static_cast<std::size_t>(seq)] = static_cast<Pos>(tokens.size());
  rolled_back_[static_cast<std::size_t>(seq)] = true;  // it has no snapshots
  least_prefix_[static_cast<std::size_t>(seq)] = least_prefix_of(length(seq));
  return true;
}

}  // namespace specbranch::llama
