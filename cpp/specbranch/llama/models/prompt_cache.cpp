#include "specbranch/llama/models/prompt_cache.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/footprint.h"
#include "specbranch/llama/runtime/memory.h"
#include "specbranch/llama/runtime/rpc.h"

namespace specbranch::llama {
namespace {

/// Host memory that other programs, and the next texts, find free.
constexpr std::uint64_t kLeastFree = std::uint64_t{256} << 20U;
constexpr std::size_t kMostStates = 2;  ///< of a text; they may be large.

/// By default: so that texts of a small context find room, too, and llama-server's default.
constexpr std::uint64_t kDefaultLow = std::uint64_t{256} << 20U;
constexpr std::uint64_t kDefaultHigh = std::uint64_t{8} << 30U;

/// Of the KV cache and the recurrent states.
std::uint64_t context_bytes(const LlamaContext& context) {
  const Footprint footprint = footprint_of(context);
  std::uint64_t sum = footprint.host.context;
  for (const MemoryShare& device : footprint.devices) sum += device.context;
  return sum;
}

}  // namespace

std::uint64_t cache_limit(const LlamaContext& context, const ModelOptions& options) {
  const Weights& weights = context.weights();
  if (weights.is_outline() || !context.can_restore_copies()) return 0;
  if (!options.cache_ram) {
    if (uses_rpc(weights.get()) || options.flash_attn == FlashAttention::kOff) return 0;
    return std::clamp(context_bytes(context), kDefaultLow, kDefaultHigh);
  }
  if (*options.cache_ram < 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(*options.cache_ram) << 20U;
}

std::uint64_t PromptCache::Text::n_bytes() const {
  std::uint64_t sum = copy.n_bytes;
  for (const PromptCheckpoints::Checkpoint& state : states) sum += state.state.size();
  return sum;
}

bool PromptCache::is_worth(Pos n_usable, Pos n_left) {
  return n_usable - n_left >= std::max(kLeastTokens, n_usable / 8);
}

void PromptCache::begin(const Text* needed) {
  for (Text& text : texts_) text.pinned = false;
  needed_ = needed;
}

/// The two longest states at which a copy of `seq` can be cut.
PromptCache::States PromptCache::states_of(SeqId seq, const AdapterSet& adapters,
                                           Pos n_usable) const {
  if (checkpoints_ == nullptr) return {};
  States states = checkpoints_->of(context_.content(seq), n_usable, adapters);
  std::ranges::sort(states, std::ranges::greater{},
                    [](const auto* one) { return one->tokens.size(); });
  states.resize(std::min(states.size(), kMostStates));
  return states;
}

/// `text` offers as much as the first `n_usable` of `tokens` do, but for a few at their end.
bool PromptCache::holds(const Text& text, const HashedTokens& tokens, Pos n_usable,
                        const States& states) const {
  const std::size_t n_common = text.copy.tokens.common(tokens);
  // Another length is cut at other places.
  if (checkpoints_ != nullptr) {
    return n_common == tokens.size() && n_common == text.copy.tokens.size() &&
           n_usable <= text.n_usable && states.size() <= text.states.size();
  }
  if (only_whole_ && n_common < text.copy.tokens.size()) return false;
  return covers(std::min(static_cast<Pos>(n_common), text.n_usable), n_usable);
}

void PromptCache::clear() {
  texts_.clear();
  n_bytes_ = 0;
  needed_ = nullptr;
}

void PromptCache::erase(Place place) {
  n_bytes_ -= place->n_bytes();
  texts_.erase(place);
}

/// Drops texts until there are `n_bytes` for one more. False, and drops none: they cannot be had.
bool PromptCache::make_room(std::uint64_t n_bytes) {
  std::uint64_t n_pinned = 0;
  std::uint64_t n_free = 0;  // that can be dropped
  for (const Text& text : texts_) {
    if (&text != needed_) (text.pinned ? n_pinned : n_free) += text.n_bytes();
  }
  const std::uint64_t n_wanted = n_bytes + std::max(n_bytes, kLeastFree);
  std::uint64_t available = available_memory().value_or(n_wanted);
  if (n_bytes > most_bytes_ || n_pinned > most_bytes_ - n_bytes) return false;
  if (available + n_free < n_wanted) return false;
  for (Place place = texts_.end(); place != texts_.begin();) {
    if (n_pinned + n_free <= most_bytes_ - n_bytes && available >= n_wanted) break;
    const Place one = std::prev(place);
    if (one->pinned || &*one == needed_) {
      place = one;
      continue;
    }
    n_free -= one->n_bytes();
    available += one->n_bytes();
    erase(one);
  }
  return true;
}

bool PromptCache::keep(SeqId seq, const AdapterSet& adapters, Pos n_usable) {
  const HashedTokens& held = context_.held(seq);
  const States states = states_of(seq, adapters, n_usable);
  for (Place place = texts_.begin(); place != texts_.end(); ++place) {
    if (place->adapters != adapters || !holds(*place, held, n_usable, states)) continue;
    place->pinned = true;
    texts_.splice(texts_.begin(), texts_, place);
    return true;
  }
  std::uint64_t n_bytes = context_.copy_bytes(seq);
  for (const PromptCheckpoints::Checkpoint* state : states) n_bytes += state->state.size();
  if (!make_room(n_bytes)) return false;
  try {
    Text text{context_.copy_out(seq), adapters, n_usable, {}, /*pinned=*/true};
    for (const PromptCheckpoints::Checkpoint* state : states) text.states.push_back(*state);
    texts_.push_front(std::move(text));
  } catch (const FatalError&) {
    throw;
  } catch (const DecodeError&) {
    return false;  // it is read anew then
  } catch (const std::bad_alloc&) {
    return false;
  }
  n_bytes_ += texts_.front().n_bytes();
  if (!only_whole_) drop_begins_of(texts_.front());
  return true;
}

/// Drops what `text` continues: copies that offer nothing that it does not offer.
void PromptCache::drop_begins_of(const Text& text) {
  for (Place place = texts_.begin(); place != texts_.end();) {
    const Place one = place++;
    if (&*one == &text || &*one == needed_ || one->adapters != text.adapters) continue;
    const auto n_common = static_cast<Pos>(one->copy.tokens.common(text.copy.tokens));
    if (!covers(std::min(n_common, text.n_usable), one->n_usable)) continue;
    const auto has_all = [&text](const auto& states) {
      return std::ranges::all_of(states, [&text](const auto& state) {
        return std::ranges::any_of(text.states, [&state](const auto& other) {
          return other.tokens.size() == state.tokens.size();
        });
      });
    };
    if (has_all(one->states)) erase(one);
  }
}

Pos PromptCache::n_offered(const Text& text, Pos n_common, Pos n_reusable) const {
  if (n_reusable == static_cast<Pos>(text.copy.tokens.size())) return n_reusable;
  if (only_whole_) return 0;
  if (checkpoints_ == nullptr) return n_reusable;
  Pos most = 0;
  for (const PromptCheckpoints::Checkpoint& state : text.states) {
    const auto length = static_cast<Pos>(state.tokens.size());
    if (length <= std::min(n_common, text.n_usable)) most = std::max(most, length);
  }
  return most;
}

bool PromptCache::restore(SeqId seq, const Text& text) {
  const auto place =
      std::ranges::find_if(texts_, [&text](const Text& one) { return &one == &text; });
  if (place == texts_.end()) return false;
  needed_ = nullptr;
  try {
    if (!context_.copy_in(seq, text.copy)) return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
  ++n_restored_;
  try {
    for (const PromptCheckpoints::Checkpoint& state : text.states) checkpoints_->put(state);
  } catch (const std::bad_alloc&) {  // it is read on from an earlier place then
  }
  // The cells hold it now.
  texts_.splice(texts_.end(), texts_, place);
  if (n_bytes_ > most_bytes_) erase(place);
  return true;
}

}  // namespace specbranch::llama
