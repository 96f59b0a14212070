#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "specbranch/llama/sampling/sampler.h"

namespace specbranch::llama {
namespace {

constexpr float kNoLogit = -std::numeric_limits<float>::infinity();
constexpr float kStopLogit =
    1.0F;  ///< of an end that stands for uncertain tokens, as in llama.cpp.
constexpr float kLeastShare = 0.2F;

/// Every pair of tokens is compared. Behind these, no token reaches `kLeastShare` in practice.
constexpr std::size_t kMostCompared = 256;

/// For text between two texts: ends early rather than go on uncertainly.
/// https://github.com/ggml-org/llama.cpp/pull/9896
///
/// A token that begins others stands for them, too. If an end is likely, only ends stay; otherwise
/// the tokens that have a large share and the ends. llama.cpp ends the text if nothing has a large
/// share, even where an end is forbidden; here the best token stays then.
class InfillSampler final : public Sampler {
 public:
  explicit InfillSampler(const Vocabulary& vocabulary) : vocabulary_(&vocabulary) {}

  void apply(KeptTokens& kept, const ChoicePoint& point) const override {
    sort_by_logit(kept);
    std::erase_if(kept.items, [](const llama_token_data& item) { return item.logit == kNoLogit; });
    set_probabilities(kept);
    if (ends_likely(kept)) {
      std::erase_if(kept.items, [this](const llama_token_data& item) { return !is_end(item); });
      return;
    }
    const llama_token_data best = kept.items.front();
    merge(kept.items);
    const std::size_t n_words = keep(kept.items, kLeastShare);
    if (n_words == 0) {
      stop(kept.items, best, point);
      return;
    }
    keep(kept.items, 1.0F / static_cast<float>(n_words + 1));
  }

 private:
  bool is_end(const llama_token_data& item) const { return vocabulary_->is_end(item.id); }

  bool ends_likely(const KeptTokens& kept) const {
    float ends = 0.0F;
    float words = 0.0F;
    for (const llama_token_data& item : kept.items) (is_end(item) ? ends : words) += item.p;
    return 3.0F * ends * static_cast<float>(kept.items.size()) > words;
  }

  /// Adds up the probabilities of tokens of which one begins the other: the more probable one
  /// gets the sum. Like llama.cpp, it stops at the first token that is part of another.
  void merge(std::vector<llama_token_data>& items) const {
    const std::size_t n = std::min(items.size(), kMostCompared);
    std::vector<bool> is_part(n);
    for (std::size_t i = 0; i < n && !is_part[i]; ++i) {
      const std::string& piece = vocabulary_->piece(items[i].id);
      if (piece.empty()) continue;
      for (std::size_t k = 0; k < n; ++k) {
        if (k == i || is_part[k] || !vocabulary_->piece(items[k].id).starts_with(piece)) continue;
        const auto [whole, part] = items[k].p > items[i].p ? std::pair{k, i} : std::pair{i, k};
        items[whole].p += items[part].p;
        items[part].p = 0.0F;
        is_part[part] = true;
      }
    }
  }

  /// Keeps ends, and tokens with at least this share. Returns the number of the latter. What is
  /// left has probabilities that add up to 1.
  std::size_t keep(std::vector<llama_token_data>& items, float least) const {
    std::erase_if(items,
                  [&](const llama_token_data& item) { return item.p < least && !is_end(item); });
    float sum = 0.0F;
    std::size_t n_words = 0;
    for (const llama_token_data& item : items) {
      sum += item.p;
      if (!is_end(item)) ++n_words;
    }
    for (llama_token_data& item : items) item.p /= sum;
    return n_words;
  }

  /// Nothing is certain: the text ends, if it may.
  void stop(std::vector<llama_token_data>& items, const llama_token_data& best,
            const ChoicePoint& point) const {
    const Token eot = vocabulary_->eot();
    const Token end = eot >= 0 ? eot : vocabulary_->eos();
    const auto index = static_cast<std::size_t>(end);
    if (end >= 0 && index < point.scores.size() && point.scores[index] != kNoLogit) {
      items = {{end, kStopLogit, 1.0F}};
    } else if (items.empty()) {  // without ends
      items = {best};
    }
  }

  const Vocabulary* vocabulary_;
};

}  // namespace

std::unique_ptr<Sampler> make_infill(const Vocabulary& vocabulary) {
  return std::make_unique<InfillSampler>(vocabulary);
}

}  // namespace specbranch::llama
