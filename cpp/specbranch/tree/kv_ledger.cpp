#include "specbranch/tree/kv_ledger.h"

#include <algorithm>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch {

void KvLedger::reset(std::vector<Token> committed, int n_seq, Pos origin) {
  committed_ = std::move(committed);
  origin_ = origin;
  entries_.assign(static_cast<std::size_t>(n_seq), Entry{origin, {}});
}

void KvLedger::begin(std::span<const Pos> lengths) {
  const auto n_committed = static_cast<Pos>(committed_.size());
  if (lengths.size() != entries_.size() ||
      std::ranges::any_of(lengths, [&](Pos n) { return n < origin_ || n > n_committed; })) {
    throw PreconditionError("[KvLedger::begin] " + std::to_string(lengths.size()) +
                            " lengths do not fit " + std::to_string(entries_.size()) +
                            " sequences of a text of " + std::to_string(n_committed));
  }
  for (std::size_t seq = 0; seq < entries_.size(); ++seq) entries_[seq] = {lengths[seq], {}};
}

void KvLedger::extend(SeqId seq, Pos length) {
  Entry& entry = entries_[static_cast<std::size_t>(seq)];
  if (!entry.tail.empty() || length < entry.base ||
      static_cast<std::size_t>(length) > committed_.size()) {
    throw PreconditionError("[KvLedger::extend] sequence " + std::to_string(seq) + " cannot hold " +
                            std::to_string(length) + " committed tokens");
  }
  entry.base = length;
}

Pos KvLedger::length(SeqId seq) const {
  const Entry& entry = entries_[static_cast<std::size_t>(seq)];
  return entry.base + static_cast<Pos>(entry.tail.size());
}

void KvLedger::normalize(Entry& entry) const {
  std::size_t n = 0;
  while (n < entry.tail.size() && static_cast<std::size_t>(entry.base) < committed_.size() &&
         entry.tail[n] == committed_[static_cast<std::size_t>(entry.base)]) {
    ++entry.base;
    ++n;
  }
  entry.tail.erase(entry.tail.begin(), entry.tail.begin() + static_cast<std::ptrdiff_t>(n));
}

Pos KvLedger::common(SeqId seq, std::span<const Token> tail) const {
  Entry& entry = entries_[static_cast<std::size_t>(seq)];
  normalize(entry);
  if (static_cast<std::size_t>(entry.base) < committed_.size()) return entry.base;
  const auto end = std::mismatch(entry.tail.begin(), entry.tail.end(), tail.begin(), tail.end());
  return entry.base + static_cast<Pos>(end.first - entry.tail.begin());
}

std::span<const Token> KvLedger::tail(SeqId seq) {
  Entry& entry = entries_[static_cast<std::size_t>(seq)];
  normalize(entry);
  return entry.tail;
}

Pos KvLedger::common_of(SeqId a, SeqId b) {
  Entry& first = entries_[static_cast<std::size_t>(a)];
  Entry& second = entries_[static_cast<std::size_t>(b)];
  normalize(first);
  normalize(second);
  // After normalising, a tail differs from the committed text at its very first token.
  if (first.base != second.base) return std::min(first.base, second.base);
  const auto end =
      std::mismatch(first.tail.begin(), first.tail.end(), second.tail.begin(), second.tail.end());
  return first.base + static_cast<Pos>(end.first - first.tail.begin());
}

void KvLedger::truncate(SeqId seq, Pos length) {
  Entry& entry = entries_[static_cast<std::size_t>(seq)];
  if (length > this->length(seq) || length < origin_) {
    throw PreconditionError("[KvLedger::truncate] sequence " + std::to_string(seq) + " holds " +
                            std::to_string(this->length(seq)) + "; cannot cut to " +
                            std::to_string(length));
  }
  if (length <= entry.base) {
    entry.base = length;
    entry.tail.clear();
  } else {
    entry.tail.resize(static_cast<std::size_t>(length - entry.base));
  }
}

void KvLedger::append(SeqId seq, Token token) {
  entries_[static_cast<std::size_t>(seq)].tail.push_back(token);
}

void KvLedger::copy(SeqId from, SeqId to, Pos length) {
  entries_[static_cast<std::size_t>(to)] = entries_[static_cast<std::size_t>(from)];
  truncate(to, length);
}

}  // namespace specbranch
