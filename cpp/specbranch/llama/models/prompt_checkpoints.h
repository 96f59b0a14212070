/// States of prompts at chunk borders, for contexts whose sequences cannot be cut to any length.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "specbranch/llama/context/context.h"

namespace specbranch::llama {

/// Without them, a prompt that shares a long beginning with the text before, but is no continuation
/// of it, would be read from its first token: the end of a prompt is usually followed by another
/// answer, and its beginning by another question. So two borders of each prompt are kept: the last
/// one, and the last one before it parts from the text that was there.
///
/// A state lies in host memory, without the cells of attention layers. It is of use only while some
/// sequence still holds those.
class PromptCheckpoints {
 public:
  /// At most so many states, the least recently used one goes first.
  static constexpr std::size_t kMost = 4;

  PromptCheckpoints(LlamaContext& context, int chunk) : context_(context), chunk_(chunk) {}

  /// A prompt begins: `tokens` are to be read into `seq`. Forgets the borders of the prompt that
  /// `seq` read before. `like` (often `seq` itself) still holds what it held; of its cells the
  /// first `n_usable` may be reused. Returns the length of the longest state that is a prefix of
  /// `tokens` and of these cells; 0: there is none.
  Pos begin(SeqId seq, SeqId like, std::span<const Token> tokens, Pos n_usable);

  /// Makes `seq` hold the `length` tokens that `begin` has returned.
  void restore(SeqId seq, Pos length);

  /// Forgets all states: those to come are computed by another function.
  void clear() { checkpoints_.clear(); }

  /// `seq` has read on. Keeps its state at a border that is worth it.
  void passed(SeqId seq);

 private:
  struct Checkpoint {
    std::vector<Token> tokens;
    std::vector<std::uint8_t> state;
  };

  LlamaContext& context_;
  int chunk_;
  std::map<SeqId, std::array<Pos, 2>> borders_;  ///< to be kept, of the prompt in a sequence.
  std::vector<Checkpoint> checkpoints_;          ///< the most recently used one last.
};

}  // namespace specbranch::llama
