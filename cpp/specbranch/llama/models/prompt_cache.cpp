#include "specbranch/llama/models/prompt_cache.h"

#include <algorithm>
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

/// By default: so that texts of a small context find room, too, and llama-server's default.
constexpr std::uint64_t kDefaultLow = std::uint64_t{256} << 20U;
constexpr std::uint64_t kDefaultHigh = std::uint64_t{8} << 30U;

bool has_memory(std::uint64_t n_bytes) {
  const std::optional<std::uint64_t> available = available_memory();
  return !available || *available >= n_bytes + std::max(n_bytes, kLeastFree);
}

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

/// `text` offers as much as the first `n_usable` of `tokens` do, but for a few at their end.
bool PromptCache::holds(const Text& text, const HashedTokens& tokens, Pos n_usable) const {
  const std::size_t n_common = text.copy.tokens.common(tokens);
  // Another length is cut at other places.
  if (checkpoints_ != nullptr) {
    return n_common == tokens.size() && n_common == text.copy.tokens.size();
  }
  if (only_whole_ && n_common < text.copy.tokens.size()) return false;
  return std::min(static_cast<Pos>(n_common), text.n_usable) + kLeastTokens > n_usable;
}

void PromptCache::erase(Place place) {
  n_bytes_ -= place->n_bytes();
  texts_.erase(place);
}

/// Drops texts until there are `n_bytes` for one more. False: they cannot be had.
bool PromptCache::make_room(std::uint64_t n_bytes, const Text* needed) {
  const std::uint64_t n_needed = needed == nullptr ? 0 : needed->n_bytes();
  if (n_needed > most_bytes_ || n_bytes > most_bytes_ - n_needed) return false;
  while (n_bytes_ > most_bytes_ - n_bytes || !has_memory(n_bytes)) {
    auto last = texts_.end();
    for (auto place = texts_.begin(); place != texts_.end(); ++place) {
      if (&*place != needed) last = place;
    }
    if (last == texts_.end()) return false;
    erase(last);
  }
  return true;
}

bool PromptCache::keep(SeqId seq, const AdapterSet& adapters, Pos n_usable, const Text* needed) {
  const HashedTokens& held = context_.held(seq);
  for (auto place = texts_.begin(); place != texts_.end(); ++place) {
    if (place->adapters != adapters || !holds(*place, held, n_usable)) continue;
    texts_.splice(texts_.begin(), texts_, place);
    return true;
  }
  std::vector<const PromptCheckpoints::Checkpoint*> states;
  if (checkpoints_ != nullptr) states = checkpoints_->of(held.tokens(), n_usable, adapters);
  std::uint64_t n_bytes = context_.copy_bytes(seq);
  for (const PromptCheckpoints::Checkpoint* state : states) n_bytes += state->state.size();
  if (!make_room(n_bytes, needed)) return false;
  try {
    Text text{context_.copy_out(seq), adapters, n_usable, {}};
    for (const PromptCheckpoints::Checkpoint* state : states) text.states.push_back(*state);
    n_bytes_ += text.n_bytes();
    texts_.push_front(std::move(text));
  } catch (const FatalError&) {
    throw;
  } catch (const DecodeError&) {
    return false;  // it is read anew then
  } catch (const std::bad_alloc&) {
    return false;
  }
  // What this text continues.
  for (auto place = std::next(texts_.begin()); place != texts_.end();) {
    const Place one = place++;
    const bool is_begin = one->adapters == adapters && one->n_usable <= n_usable &&
                          one->copy.tokens.common(held) == one->copy.tokens.size();
    if (is_begin && &*one != needed) erase(one);
  }
  return true;
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
  if (place != texts_.end()) texts_.splice(texts_.begin(), texts_, place);
  if (!context_.copy_in(seq, text.copy)) return false;
  for (const PromptCheckpoints::Checkpoint& state : text.states) checkpoints_->put(state);
  return true;
}

}  // namespace specbranch::llama
