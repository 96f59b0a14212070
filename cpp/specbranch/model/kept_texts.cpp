#include "specbranch/model/kept_texts.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace specbranch {

Pos room_of(const Request& request, Pos n_ctx) {
  const auto n_prompt = static_cast<Pos>(request.prompt.size());
  const bool fills = request.max_tokens < 0 || request.max_tokens >= n_ctx - n_prompt;
  return fills ? n_ctx : n_prompt + request.max_tokens;
}

bool fits_beside(std::span<const Request* const> running, const Request& next,
                 const Capabilities& model) {
  if (model.n_ctx_total == 0 || running.empty()) return true;
  std::int64_t n_cells = room_of(next, model.n_ctx);
  for (const Request* one : running) n_cells += room_of(*one, model.n_ctx);
  return n_cells <= model.n_ctx_total;
}

std::vector<SeqId> KeptTexts::open(GenerationId id, std::span<const SeqId> seqs, Pos room) {
  std::vector<SeqId> dropped;
  if (n_cells_ == 0) return dropped;
  std::erase_if(open_, [id](const Text& text) { return text.id == id; });
  take_away(closed_, seqs);
  open_.push_back({id, {seqs.begin(), seqs.end()}, room});

  std::int64_t n_taken = 0;
  for (const Text& text : open_) n_taken += text.n_cells;
  for (const Text& text : closed_) n_taken += text.n_cells;
  while (n_taken > n_cells_ && !closed_.empty()) {
    const Text& oldest = closed_.front();
    n_taken -= oldest.n_cells;
    dropped.insert(dropped.end(), oldest.seqs.begin(), oldest.seqs.end());
    closed_.erase(closed_.begin());
  }
  return dropped;
}

/// Texts that have no other sequences hold nothing any more.
void KeptTexts::take_away(std::vector<Text>& texts, std::span<const SeqId> seqs) {
  for (Text& text : texts) {
    std::erase_if(text.seqs, [seqs](SeqId seq) { return std::ranges::count(seqs, seq) > 0; });
  }
  std::erase_if(texts, [](const Text& text) { return text.seqs.empty(); });
}

void KeptTexts::emptied(SeqId seq) { take_away(closed_, std::span(&seq, 1)); }

void KeptTexts::close(GenerationId id, Pos length) {
  const auto found = std::ranges::find(open_, id, &Text::id);
  if (found == open_.end()) return;
  Text text = std::move(*found);
  open_.erase(found);
  text.n_cells = length;
  if (length > 0) closed_.push_back(std::move(text));
}

}  // namespace specbranch
