/// An online suffix automaton over a text: where the end of the text has occurred before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// The smallest automaton that accepts all suffixes of a text (Blumer et al., 1985). A state stands
/// for substrings that end at the same positions. The text only grows.
///
/// *Cost:* `append` and `step` take amortized constant time. A token takes less than 100 bytes on
/// average: at most two states of 24 bytes, and at most one edge more than states.
class SuffixAutomaton {
 public:
  /// A substring of the text: the last `length` tokens before the end of an occurrence. 0: none.
  struct Match {
    std::int32_t state = 0;
    std::int32_t length = 0;

    bool operator==(const Match&) const = default;
  };

  /// The token that followed an earlier occurrence of a match.
  struct Continuation {
    Token token = -1;     ///< -1: none.
    Pos pos = -1;         ///< where it stands in the text.
    int length = 0;       ///< tokens of the match before it.
    bool unique = false;  ///< no other token has ever followed these tokens.
  };

  SuffixAutomaton();

  void append(Token token);

  std::span<const Token> text() const { return text_; }

  /// The longest end of the text that also occurs earlier.
  Match match() const { return match_; }

  /// The longest end of (the match, then `token`) that occurs in the text. Changes nothing.
  Match step(Match match, Token token) const;

  /// What followed the newest noted occurrence of `match`, or of its longest end that has a
  /// continuation.
  Continuation next(Match match) const;

  std::size_t n_states() const { return states_.size(); }
  /// All edges: those in states, and the others.
  std::size_t n_edges() const { return n_first_edges_ + edges_.size(); }

 private:
  static constexpr std::int32_t kNone = -1;

  /// The first edge lies in the state, because most states have one. The others are a list. If they
  /// are many, the state is *wide*: a hash table finds them.
  struct State {
    std::int32_t length = 0;    ///< of its longest substring.
    std::int32_t link = kNone;  ///< the state of the longest end that occurs elsewhere, too.
    Pos end = 0;                ///< where an occurrence ends: the newest one that a match has seen.
    Token token = kNone;        ///< of the first edge; kNone: no edge.
    std::int32_t target = 0;    ///< of the first edge.
    std::int32_t more = kNone;  ///< the newest of the other edges; wide: -2 - that edge.

    bool wide() const { return more < kNone; }
    std::int32_t list() const { return wide() ? -2 - more : more; }
    void set_list(std::int32_t edge, bool wide) { more = wide ? -2 - edge : edge; }
  };
  struct Edge {
    Token token = 0;
    std::int32_t target = 0;
    std::int32_t next = kNone;
  };
  struct Slot {
    std::int32_t state = kNone;
    std::int32_t edge = 0;
  };

  const State& at(std::int32_t state) const { return states_[static_cast<std::size_t>(state)]; }
  State& at(std::int32_t state) { return states_[static_cast<std::size_t>(state)]; }
  std::int32_t new_state(const State& state);
  /// Where the target of the edge is kept; null: there is no such edge.
  const std::int32_t* find(std::int32_t state, Token token) const;
  void add_edge(std::int32_t state, Token token, std::int32_t target);
  void redirect(std::int32_t state, Token token, std::int32_t target);
  std::int32_t clone(std::int32_t state, std::int32_t length);
  void index(std::int32_t state, std::int32_t edge);
  void grow_slots();
  void put(std::int32_t state, std::int32_t edge);

  std::vector<Token> text_;
  std::deque<State> states_;  ///< no element ever moves: growing takes no time.
  std::deque<Edge> edges_;
  std::vector<Slot> slots_;  ///< of edges of wide states; its size is a power of two.
  std::size_t n_slots_used_ = 0;
  std::size_t n_first_edges_ = 0;
  std::int32_t last_ = 0;  ///< the state of the whole text.
  Match match_;
};

/// The automaton of `text`. `begun`, if given, is continued if the text begins with its text.
std::shared_ptr<SuffixAutomaton> automaton_of(std::span<const Token> text,
                                              std::shared_ptr<SuffixAutomaton> begun = nullptr);

}  // namespace specbranch
