#include "specbranch/lookup/suffix_automaton.h"

#include <algorithm>
#include <utility>

namespace specbranch {
namespace {

constexpr int kNarrow = 8;  ///< edges of a state that are searched one by one.
constexpr std::size_t kFirstSlots = 64;

std::size_t hash(std::int32_t state, Token token) {
  auto key = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(state)) << 32U) |
             static_cast<std::uint32_t>(token);
  key *= 0x9E3779B97F4A7C15ULL;
  return static_cast<std::size_t>(key ^ (key >> 32U));
}

}  // namespace

SuffixAutomaton::SuffixAutomaton() { states_.emplace_back(); }

std::int32_t SuffixAutomaton::new_state(const State& state) {
  states_.push_back(state);
  return static_cast<std::int32_t>(states_.size() - 1);
}

const std::int32_t* SuffixAutomaton::find(std::int32_t state, Token token) const {
  const State& from = at(state);
  if (from.token == token) return &from.target;
  if (from.wide()) {
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = hash(state, token) & mask; slots_[i].state != kNone; i = (i + 1) & mask) {
      if (slots_[i].state != state) continue;
      const Edge& edge = edges_[static_cast<std::size_t>(slots_[i].edge)];
      if (edge.token == token) return &edge.target;
    }
    return nullptr;
  }
  for (std::int32_t i = from.more; i != kNone;) {
    const Edge& edge = edges_[static_cast<std::size_t>(i)];
    if (edge.token == token) return &edge.target;
    i = edge.next;
  }
  return nullptr;
}

void SuffixAutomaton::put(std::int32_t state, std::int32_t edge) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash(state, edges_[static_cast<std::size_t>(edge)].token) & mask;
  while (slots_[i].state != kNone) i = (i + 1) & mask;
  slots_[i] = {state, edge};
}

void SuffixAutomaton::grow_slots() {
  const std::vector<Slot> old = std::exchange(slots_, {});
  slots_.resize(std::max(kFirstSlots, 2 * old.size()));
  for (const Slot& slot : old) {
    if (slot.state != kNone) put(slot.state, slot.edge);
  }
}

void SuffixAutomaton::index(std::int32_t state, std::int32_t edge) {
  // Three quarters are full at most.
  if (4 * (n_slots_used_ + 1) > 3 * slots_.size()) grow_slots();
  put(state, edge);
  ++n_slots_used_;
}

void SuffixAutomaton::add_edge(std::int32_t state, Token token, std::int32_t target) {
  State& from = at(state);
  if (from.token == kNone) {
    from.token = token;
    from.target = target;
    ++n_first_edges_;
    return;
  }
  const auto added = static_cast<std::int32_t>(edges_.size());
  edges_.push_back({token, target, from.list()});
  if (from.wide()) {
    from.set_list(added, true);
    index(state, added);
    return;
  }
  int n = 0;
  for (std::int32_t i = added; i != kNone; i = edges_[static_cast<std::size_t>(i)].next) ++n;
  from.set_list(added, n >= kNarrow);
  if (!from.wide()) return;
  for (std::int32_t i = added; i != kNone; i = edges_[static_cast<std::size_t>(i)].next) {
    index(state, i);
  }
}

void SuffixAutomaton::redirect(std::int32_t state, Token token, std::int32_t target) {
  const_cast<std::int32_t&>(*find(state, token)) = target;
}

std::int32_t SuffixAutomaton::clone(std::int32_t state, std::int32_t length) {
  const State from = at(state);
  State copy = from;
  copy.length = length;
  copy.more = kNone;
  const std::int32_t made = new_state(copy);
  if (copy.token != kNone) ++n_first_edges_;
  for (std::int32_t i = from.list(); i != kNone;) {
    const Edge edge = edges_[static_cast<std::size_t>(i)];
    add_edge(made, edge.token, edge.target);
    i = edge.next;
  }
  return made;
}

void SuffixAutomaton::append(Token token) {
  // What the text ended with occurs here, too: the newest place to copy from.
  if (match_.length > 0) at(match_.state).end = static_cast<Pos>(text_.size()) - 1;
  State fresh;
  fresh.length = static_cast<std::int32_t>(text_.size()) + 1;
  fresh.end = static_cast<Pos>(text_.size());
  text_.push_back(token);
  const std::int32_t current = new_state(fresh);
  std::int32_t p = std::exchange(last_, current);
  const std::int32_t* known = nullptr;
  while (p != kNone && (known = find(p, token)) == nullptr) {
    add_edge(p, token, current);
    p = at(p).link;
  }
  std::int32_t link = 0;
  if (p != kNone) {
    const std::int32_t q = *known;
    link = q;
    if (at(p).length + 1 != at(q).length) {
      link = clone(q, at(p).length + 1);
      while (p != kNone) {
        const std::int32_t* target = find(p, token);
        if (target == nullptr || *target != q) break;
        redirect(p, token, link);
        p = at(p).link;
      }
      at(q).link = link;
    }
  }
  at(current).link = link;
  match_ = {link, at(link).length};
}

SuffixAutomaton::Match SuffixAutomaton::step(Match match, Token token) const {
  for (std::int32_t state = match.state; state != kNone; state = at(state).link) {
    const std::int32_t* target = find(state, token);
    if (target != nullptr) return {*target, std::min(match.length, at(state).length) + 1};
  }
  return {};
}

SuffixAutomaton::Continuation SuffixAutomaton::next(Match match) const {
  std::int32_t state = match.state;
  while (state > 0 && static_cast<std::size_t>(at(state).end) + 1 >= text_.size()) {
    state = at(state).link;
  }
  if (state <= 0) return {};
  const State& from = at(state);
  const Pos pos = from.end + 1;
  return {text_[static_cast<std::size_t>(pos)], pos, std::min(match.length, from.length),
          from.more == kNone};
}

std::shared_ptr<SuffixAutomaton> automaton_of(std::span<const Token> text,
                                              std::shared_ptr<SuffixAutomaton> begun) {
  const bool goes_on = begun && begun->text().size() <= text.size() &&
                       std::ranges::equal(begun->text(), text.first(begun->text().size()));
  if (!goes_on) begun = std::make_shared<SuffixAutomaton>();
  for (const Token token : text.subspan(begun->text().size())) begun->append(token);
  return begun;
}

}  // namespace specbranch
