/// Texts that a model has read, in host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>

#include "specbranch/llama/context/context.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/model/options.h"

namespace specbranch::llama {

/// A sequence holds one text, and what the next session does not share with it is lost. And
/// llama.cpp passes over all cells in each step, also over those of texts that have ended. So what
/// a sequence held is copied here, and back when a prompt begins like it (as llama-server's
/// `--cache-ram` does).
///
/// It owns the copies. It does not decide which sequence a session gets, and empties none.
/// *Thread safety:* as the context.
class PromptCache {
 public:
  /// What is read again as soon as it is copied back is not kept, nor copied back.
  static constexpr Pos kLeastTokens = 64;

  struct Text {
    SequenceCopy copy;
    AdapterSet adapters;
    Pos n_usable = 0;  ///< of the tokens, those whose cells may be used again.
  };

  /// The copies take at most `most_bytes`; the least recently used one goes first. `only_whole`:
  /// what comes back cannot be cut (see LlamaContext::copy_in).
  PromptCache(LlamaContext& context, std::uint64_t most_bytes, bool only_whole = false)
      : context_(context), most_bytes_(most_bytes), only_whole_(only_whole) {}

  bool only_whole() const noexcept { return only_whole_; }

  /// Keeps what `seq` holds, computed with `adapters`. Of its cells the first `n_usable` may be
  /// used again. True: a copy of these is here, perhaps without a few at the end. False: there are
  /// only a few, or there is no memory for them.
  bool keep(SeqId seq, const AdapterSet& adapters, Pos n_usable);

  /// The most recently used one first.
  const std::list<Text>& texts() const noexcept { return texts_; }

  /// Of these texts the most recently used one now.
  void touch(const Text& text);

  /// `seq`, which is empty, gets the cells of `text`. False: the context has no room for them.
  bool restore(SeqId seq, const Text& text) { return context_.copy_in(seq, text.copy); }

  std::uint64_t n_bytes() const noexcept { return n_bytes_; }

 private:
  using Place = std::list<Text>::iterator;

  std::optional<Place> find(const HashedTokens& tokens, const AdapterSet& adapters, Pos n_usable);
  void erase(Place place);

  LlamaContext& context_;
  std::uint64_t most_bytes_;
  bool only_whole_;
  std::uint64_t n_bytes_ = 0;
  std::list<Text> texts_;
};

/// The bytes that `options.cache_ram` asks for; 0: none, or the context cannot copy its sequences.
std::uint64_t cache_limit(const LlamaContext& context, const ModelOptions& options);

}  // namespace specbranch::llama
