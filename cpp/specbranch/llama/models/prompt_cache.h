/// Texts that a model has read, in host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

#include "specbranch/llama/context/context.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/models/prompt_checkpoints.h"
#include "specbranch/model/options.h"

namespace specbranch::llama {

/// A sequence holds one text, and what the next session does not share with it is lost. And
/// llama.cpp passes over all cells in each step, also over those of texts that have ended. So what
/// a sequence held is copied here, and back when a prompt begins like it (as llama-server's
/// `--cache-ram` does).
///
/// It owns the copies. It does not decide which text leaves and which comes back, and empties no
/// sequence. *Thread safety:* as the context.
class PromptCache {
 public:
  /// What is read again as soon as it is copied back is not worth a copy.
  static constexpr Pos kLeastTokens = 64;

  struct Text {
    SequenceCopy copy;
    AdapterSet adapters;
    Pos n_usable = 0;  ///< of the tokens, those whose cells may be used again.
    std::vector<PromptCheckpoints::Checkpoint> states;  ///< where the copy can be cut.
    bool pinned = false;                                ///< see `begin`.

    std::uint64_t n_bytes() const;
  };

  /// The copies take at most `most_bytes`; the least recently used one goes first. `checkpoints`:
  /// of a context whose sequences can only be cut there; null: they can be cut anywhere.
  /// `only_whole`: what comes back cannot be cut at all (see LlamaContext::copy_in).
  PromptCache(LlamaContext& context, std::uint64_t most_bytes,
              PromptCheckpoints* checkpoints = nullptr, bool only_whole = false)
      : context_(context),
        most_bytes_(most_bytes),
        checkpoints_(checkpoints),
        only_whole_(only_whole) {}

  bool only_whole() const noexcept { return only_whole_; }

  /// Of `n` tokens the first `n_common` are all, but for a few.
  static bool covers(Pos n_common, Pos n) { return n_common + kLeastTokens > n; }

  /// Of a text of `n_usable` tokens the first `n_left` are not lost: a copy is worth it.
  static bool is_worth(Pos n_usable, Pos n_left);

  /// From now on no copy is dropped that is made or found, until the next call. `needed` (may be
  /// null) comes back soon, so that it stays, and its bytes do not count.
  void begin(const Text* needed);

  /// Keeps what `seq` holds, computed with `adapters`. Of its cells the first `n_usable` may be
  /// used again. True: a copy is here, perhaps without a few tokens at the end. False: there is no
  /// memory for it.
  bool keep(SeqId seq, const AdapterSet& adapters, Pos n_usable);

  void clear();

  /// The most recently used one first.
  const std::list<Text>& texts() const noexcept { return texts_; }

  /// The text that offers most, if that is enough more than `n_elsewhere`; null: none does.
  /// `offered`: what a text offers, in tokens of a prompt.
  template <class Offered>
  const Text* best(Pos n_elsewhere, Offered offered) const {
    const Text* found = nullptr;
    Pos most = n_elsewhere + kLeastTokens - 1;
    for (const Text& text : texts_) {
      const Pos n = offered(text);
      if (n <= most) continue;
      most = n;
      found = &text;
    }
    return found;
  }

  /// Tokens of `text` with which a prompt can begin, of which it has `n_common` in common with the
  /// text, and could use `n_reusable` if cells could be cut anywhere.
  Pos n_offered(const Text& text, Pos n_common, Pos n_reusable) const;

  /// `seq`, which is empty, gets the cells of `text`, which is the next one to be dropped then.
  /// False: there is no room for them.
  bool restore(SeqId seq, const Text& text);

  std::uint64_t n_bytes() const noexcept { return n_bytes_; }
  /// For tests.
  std::int64_t n_restored() const noexcept { return n_restored_; }

 private:
  using Place = std::list<Text>::iterator;

  using States = std::vector<const PromptCheckpoints::Checkpoint*>;

  States states_of(SeqId seq, const AdapterSet& adapters, Pos n_usable) const;
  bool holds(const Text& text, const HashedTokens& tokens, Pos n_usable,
             const States& states) const;
  bool make_room(std::uint64_t n_bytes);
  void erase(Place place);
  void drop_begins_of(const Text& text);

  LlamaContext& context_;
  std::uint64_t most_bytes_;
  PromptCheckpoints* checkpoints_;
  bool only_whole_;
  std::uint64_t n_bytes_ = 0;
  std::int64_t n_restored_ = 0;
  const Text* needed_ = nullptr;
  std::list<Text> texts_;
};

/// The bytes that `options.cache_ram` asks for; 0: none, or the context cannot copy its sequences.
/// By default also where a copy would cross a network, or take a call for each value (no flash
/// attention).
std::uint64_t cache_limit(const LlamaContext& context, const ModelOptions& options);

}  // namespace specbranch::llama
