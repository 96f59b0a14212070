// The automaton against a search through the whole text, and its bounds.
#include <algorithm>
#include <cstddef>
#include <vector>

#include "specbranch/lookup/suffix_automaton.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Tokens = std::vector<Token>;

bool ends_at(const Tokens& text, std::size_t end, const Tokens& path, std::size_t length) {
  return std::equal(path.end() - static_cast<std::ptrdiff_t>(length), path.end(),
                    text.begin() + static_cast<std::ptrdiff_t>(end - length));
}

/// Length of the longest end of `path` that occurs in text[0 .. last).
int longest_end(const Tokens& text, std::size_t last, const Tokens& path) {
  for (std::size_t length = std::min(last, path.size()); length > 0; --length) {
    for (std::size_t end = length; end <= last; ++end) {
      if (ends_at(text, end, path, length)) return static_cast<int>(length);
    }
  }
  return 0;
}

/// The tokens that follow the last `length` tokens of `path` in `text`.
Tokens followers(const Tokens& text, const Tokens& path, int length) {
  Tokens found;
  const auto n = static_cast<std::size_t>(length);
  for (std::size_t end = n; end < text.size(); ++end) {
    if (ends_at(text, end, path, n) && std::ranges::count(found, text[end]) == 0) {
      found.push_back(text[end]);
    }
  }
  return found;
}

Tokens random_text(Random& random, int n, int n_tokens) {
  Tokens text;
  while (static_cast<int>(text.size()) < n) {
    const bool copies = text.size() > 4 && random.chance(0.1);
    const int begin = copies ? random.between(0, static_cast<int>(text.size()) - 1) : 0;
    for (int i = 0; copies && i < 12; ++i) {
      text.push_back(text[static_cast<std::size_t>(begin + i)]);
    }
    text.push_back(random.between(0, n_tokens - 1));
  }
  text.resize(static_cast<std::size_t>(n));
  return text;
}

void check_next(const SuffixAutomaton& automaton, const Tokens& text, const Tokens& path,
                const SuffixAutomaton::Match& match) {
  const SuffixAutomaton::Continuation next = automaton.next(match);
  // The longest end of the path that something follows.
  int length = match.length;
  while (length > 0 && followers(text, path, length).empty()) --length;
  CHECK(next.length == length);
  if (length == 0) {
    CHECK(next.token == -1);
    return;
  }
  const Tokens known = followers(text, path, length);
  CHECK(std::ranges::count(known, next.token) == 1);
  CHECK(next.unique == (known.size() == 1));
  REQUIRE(next.pos < static_cast<Pos>(text.size()));
  CHECK(text[static_cast<std::size_t>(next.pos)] == next.token);
  CHECK(ends_at(text, static_cast<std::size_t>(next.pos), path, static_cast<std::size_t>(length)));
}

}  // namespace

TEST_CASE("suffix automaton: the longest end that occurs earlier, token by token") {
  Random random(1);
  for (int i = 0; i < scaled(60); ++i) {
    const int n_tokens = random.pick({1, 2, 3, 10, 1000});
    CAPTURE(i);
    CAPTURE(n_tokens);
    const Tokens text = random_text(random, random.between(1, 90), n_tokens);
    SuffixAutomaton automaton;
    CHECK(automaton.match().length == 0);
    CHECK(automaton.next(automaton.match()).token == -1);
    Tokens so_far;
    for (const Token token : text) {
      automaton.append(token);
      so_far.push_back(token);
      // It may overlap the end, but must end before it.
      const Tokens& path = so_far;
      const int expected = longest_end(so_far, so_far.size() - 1, path);
      CHECK(automaton.match().length == expected);
      check_next(automaton, so_far, path, automaton.match());
    }
    CHECK(std::ranges::equal(automaton.text(), text));
  }
}

TEST_CASE("suffix automaton: walked along a branch") {
  Random random(2);
  for (int i = 0; i < scaled(60); ++i) {
    const int n_tokens = random.pick({2, 3, 10, 50});
    CAPTURE(i);
    const Tokens text = random_text(random, random.between(1, 80), n_tokens);
    SuffixAutomaton automaton;
    for (const Token token : text) automaton.append(token);
    const std::size_t n_states = automaton.n_states();
    Tokens path = text;
    SuffixAutomaton::Match match = automaton.match();
    for (int step = 0; step < 20; ++step) {
      const SuffixAutomaton::Continuation next = automaton.next(match);
      const Token token =
          next.token >= 0 && random.chance(0.7) ? next.token : random.between(0, n_tokens);
      match = automaton.step(match, token);
      path.push_back(token);
      CHECK(match.length == longest_end(text, text.size(), path));
      check_next(automaton, text, path, match);
    }
    CHECK(automaton.n_states() == n_states);
  }
}

TEST_CASE("suffix automaton: states and edges are bounded, and so is the search in wide ones") {
  Random random(3);
  for (const int n_tokens : {1, 2, 4, 300, 5000}) {
    CAPTURE(n_tokens);
    SuffixAutomaton automaton;
    const std::size_t n = 20000;
    for (std::size_t i = 0; i < n; ++i) automaton.append(random.between(0, n_tokens - 1));
    CHECK(automaton.n_states() <= 2 * n);
    CHECK(automaton.n_edges() <= 3 * n);
  }
}

TEST_CASE("suffix automaton: a state with many edges finds each of them") {
  SuffixAutomaton automaton;
  constexpr Token kMost = 300;
  for (Token token = 1; token <= kMost; ++token) {
    automaton.append(0);
    automaton.append(token);
  }
  automaton.append(0);
  for (Token token = 1; token <= kMost; ++token) {
    CHECK(automaton.step(automaton.match(), token).length == 2);
  }
  CHECK(automaton.step(automaton.match(), kMost + 1).length == 0);
  CHECK_FALSE(automaton.next(automaton.match()).unique);
}

TEST_CASE("suffix automaton: of two places, the newer one goes on") {
  SuffixAutomaton automaton;
  for (const Token token : {1, 2, 3, 9, 1, 2, 4, 9, 1, 2}) automaton.append(token);
  CHECK(automaton.match().length == 3);  // 9 1 2, which 4 followed
  CHECK(automaton.next(automaton.match()).token == 4);
  SuffixAutomaton equal;  // 1 2 3 was followed by 10, then by 11, then by 12
  for (const Token token : {1, 2, 3, 10, 1, 2, 3, 11, 1, 2, 3}) equal.append(token);
  CHECK(equal.next(equal.match()).pos == 7);
  for (const Token token : {12, 1, 2, 3}) equal.append(token);
  CHECK(equal.next(equal.match()).pos == 11);
  SuffixAutomaton longer;
  for (const Token token : {8, 1, 2, 3, 9, 1, 2, 4, 8, 1, 2}) longer.append(token);
  CHECK(longer.next(longer.match()).token == 3);  // 8 1 2 is longer than the newer 1 2
}
