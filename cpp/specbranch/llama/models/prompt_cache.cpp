#include "specbranch/llama/models/prompt_cache.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <new>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/llama/models/footprint.h"
#include "specbranch/llama/runtime/memory.h"

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
  if (context.weights().is_outline() || !context.can_restore_copies()) return 0;
  if (!options.cache_ram) return std::clamp(context_bytes(context), kDefaultLow, kDefaultHigh);
  if (*options.cache_ram < 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(*options.cache_ram) << 20U;
}

/// The text that holds the first `n_usable` tokens of `tokens`, perhaps without a few at their end.
std::optional<PromptCache::Place> PromptCache::find(const HashedTokens& tokens,
                                                    const AdapterSet& adapters, Pos n_usable) {
  for (Place place = texts_.begin(); place != texts_.end(); ++place) {
    if (place->adapters != adapters) continue;
    const auto n_common = static_cast<Pos>(place->copy.tokens.common(tokens));
    if (only_whole_ && n_common < static_cast<Pos>(place->copy.tokens.size())) continue;
    if (std::min({n_common, place->n_usable, n_usable}) + kLeastTokens > n_usable) return place;
  }
  return std::nullopt;
}

void PromptCache::erase(Place place) {
  n_bytes_ -= place->copy.n_bytes;
  texts_.erase(place);
}

bool PromptCache::keep(SeqId seq, const AdapterSet& adapters, Pos n_usable) {
  if (n_usable < kLeastTokens) return false;
  const HashedTokens& held = context_.held(seq);
  if (const auto known = find(held, adapters, n_usable)) {
    texts_.splice(texts_.begin(), texts_, *known);
    return true;
  }
  const std::uint64_t n_bytes = context_.copy_bytes(seq);
  if (n_bytes > most_bytes_ || !has_memory(n_bytes)) return false;
  // What this text continues.
  for (Place place = texts_.begin(); place != texts_.end();) {
    const Place one = place++;
    const bool is_begin = !only_whole_ && one->adapters == adapters && one->n_usable <= n_usable &&
                          one->copy.tokens.common(held) == one->copy.tokens.size();
    if (is_begin) erase(one);
  }
  while (n_bytes_ + n_bytes > most_bytes_) erase(std::prev(texts_.end()));
  try {
    texts_.push_front({context_.copy_out(seq), adapters, n_usable});
    n_bytes_ += texts_.front().copy.n_bytes;
    return true;
  } catch (const FatalError&) {
    throw;
  } catch (const DecodeError&) {  // it is read anew then
  } catch (const std::bad_alloc&) {
  }
  return false;
}

void PromptCache::touch(const Text& text) {
  const auto place =
      std::ranges::find_if(texts_, [&text](const Text& one) { return &one == &text; });
  if (place != texts_.end()) texts_.splice(texts_.begin(), texts_, place);
}

}  // namespace specbranch::llama
