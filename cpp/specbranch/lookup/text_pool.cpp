#include "specbranch/lookup/text_pool.h"

#include <algorithm>
#include <bit>

namespace specbranch {

TextPool::TextPool(std::size_t capacity) : capacity_(capacity) {}

std::size_t TextPool::slot(std::size_t order, std::span<const Token> ngram) const {
  std::uint64_t key = order + 1;
  for (const Token token : ngram) {
    key = (key ^ static_cast<std::uint32_t>(token)) * 0x9E3779B97F4A7C15ULL;
    key ^= key >> 29U;
  }
  return static_cast<std::size_t>(key) & (tables_[order].size() - 1);
}

void TextPool::push(Token token) {
  ring_[head_] = token;
  head_ = head_ + 1 == ring_.size() ? 0 : head_ + 1;
  // No match goes on from the newest token to the oldest one.
  ring_[head_] = kEnd;
}

void TextPool::add(std::span<const Token> text) {
  if (capacity_ < 2 || text.empty()) return;
  if (ring_.empty()) {
    ring_.assign(capacity_, kEnd);
    for (auto& table : tables_) table.assign(std::bit_ceil(2 * capacity_), 0);
  }
  // Of a text that is too long the end is kept, with room for the separator.
  if (text.size() > capacity_ - 1) text = text.last(capacity_ - 1);
  push(kEnd);
  for (std::size_t i = 0; i < text.size(); ++i) {
    push(text[i]);
    for (std::size_t order = 0; order < kOrders.size(); ++order) {
      const auto n = static_cast<std::size_t>(kOrders[order]);
      if (i + 1 < n) continue;
      tables_[order][slot(order, text.subspan(i + 1 - n, n))] = static_cast<std::uint32_t>(head_);
    }
  }
}

TextPool::Place TextPool::find(std::span<const Token> context) const {
  if (ring_.empty()) return {};
  const auto most = std::min<std::size_t>(context.size(), kMostContext);
  for (std::size_t order = 0; order < kOrders.size(); ++order) {
    const auto n = static_cast<std::size_t>(kOrders[order]);
    if (context.size() < n) continue;
    const std::size_t next = tables_[order][slot(order, context.last(n))];
    if (ring_[next] == kEnd) continue;
    std::size_t length = 0;
    for (std::size_t i = before(next); length < most; i = before(i), ++length) {
      if (ring_[i] != context[context.size() - 1 - length]) break;
    }
    if (length >= n) return {next, static_cast<int>(length)};
  }
  return {};
}

TextPool::Place TextPool::after(const Place& place) const {
  return {place.next + 1 == ring_.size() ? 0 : place.next + 1,
          std::min(place.length + 1, kMostContext)};
}

}  // namespace specbranch
