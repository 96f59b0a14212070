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
  struct Checkpoint {
    std::vector<Token> tokens;
    AdapterSet adapters;
    std::vector<std::uint8_t> state;
  };

  /// So many states at most for `n_texts` at once: two of each prompt, and two of one more.
  static constexpr std::size_t most(int n_texts) {
    return 2 * (static_cast<std::size_t>(n_texts) + 1);
  }

  /// Keeps `most(n_texts)` states; the least recently used one goes first.
  PromptCheckpoints(LlamaContext& context, int chunk, int n_texts)
      : context_(context), chunk_(chunk), most_(most(n_texts)) {}

  /// A prompt begins: `tokens` are to be read into `seq`. Forgets the borders of the prompt that
  /// `seq` read before. `like` (often `seq` itself) still holds what it held; of its cells the
  /// first `n_usable` may be reused. Returns the length of the longest state that is a prefix of
  /// `tokens` and of these cells, computed with `adapters`; 0: there is none.
  Pos begin(SeqId seq, SeqId like, std::span<const Token> tokens, Pos n_usable,
            const AdapterSet& adapters = {});

  /// The length of the longest state that is a prefix of `tokens`, computed with `adapters`, and
  /// has at most `most` tokens; 0: there is none.
  Pos longest(std::span<const Token> tokens, Pos most, const AdapterSet& adapters) const;

  /// The states of prefixes of `tokens` of at most `most` tokens, computed with `adapters`. Valid
  /// until the next change.
  std::vector<const Checkpoint*> of(std::span<const Token> tokens, Pos most,
                                    const AdapterSet& adapters) const;

  /// Keeps a state that was kept elsewhere meanwhile.
  void put(const Checkpoint& checkpoint);

  void clear() { checkpoints_.clear(); }

  /// Makes `seq` hold the `length` tokens that `begin` has returned.
  void restore(SeqId seq, Pos length);

  /// `seq` has read on. Keeps its state at a border that is worth it.
  void passed(SeqId seq);

 private:
  /// What a sequence reads.
  struct Prompt {
    std::array<Pos, 2> borders{};  ///< to be kept.
    AdapterSet adapters;
  };

  static bool serves(const Checkpoint& checkpoint, const AdapterSet& adapters,
                     std::span<const Token> tokens);
  std::vector<Checkpoint>::iterator find(Pos length, const AdapterSet& adapters,
                                         std::span<const Token> tokens);
  void add(Checkpoint checkpoint);

  LlamaContext& context_;
  int chunk_;
  std::size_t most_;
  std::map<SeqId, Prompt> prompts_;      ///< of the sequences that have begun one.
  std::vector<Checkpoint> checkpoints_;  ///< the most recently used one last.
};

}  // namespace specbranch::llama
