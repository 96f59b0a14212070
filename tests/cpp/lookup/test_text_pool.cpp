// The pool against a search through its texts, and what its bounds forget.
#include <algorithm>
#include <cstddef>
#include <vector>

#include "specbranch/lookup/text_pool.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Tokens = std::vector<Token>;

Tokens count_from(Token first, int n) {
  Tokens text;
  for (int i = 0; i < n; ++i) text.push_back(first + i);
  return text;
}

/// The tokens from `place` on, until the text ends.
Tokens rest_of(const TextPool& pool, TextPool::Place place) {
  Tokens rest;
  while (pool.token(place) >= 0) {
    rest.push_back(pool.token(place));
    place = pool.after(place);
  }
  return rest;
}

/// How many places of a text that counts from `first` are found; equal hashes hide the others.
int n_found_of(const TextPool& pool, Token first, int n) {
  int n_found = 0;
  for (Token next = first + 5; next < first + n; ++next) {
    const TextPool::Place place = pool.find(count_from(next - 5, 5));
    if (place.length == 0) continue;
    CHECK(rest_of(pool, place) == count_from(next, first + n - next));
    ++n_found;
  }
  return n_found;
}

}  // namespace

TEST_CASE("pool: nothing is found in an empty one, or after too short a context") {
  TextPool empty(100);
  CHECK(empty.find(count_from(1, 10)).length == 0);
  CHECK(empty.token(empty.find(count_from(1, 10))) == -1);
  empty.add({});
  CHECK(empty.find(count_from(1, 10)).length == 0);
  TextPool none(0);
  none.add(count_from(1, 10));
  CHECK(none.find(count_from(1, 5)).length == 0);
  TextPool pool(100);
  pool.add(count_from(1, 10));
  CHECK(pool.find(count_from(1, TextPool::kLeastContext - 1)).length == 0);
  CHECK(pool.find(count_from(1, TextPool::kLeastContext)).length == TextPool::kLeastContext);
}

TEST_CASE("pool: a text goes on to its end, and no further") {
  TextPool pool(100);
  pool.add(count_from(10, 20));
  pool.add(count_from(50, 20));
  CHECK(rest_of(pool, pool.find(count_from(10, 6))) == count_from(16, 14));
  CHECK(rest_of(pool, pool.find(count_from(50, 9))) == count_from(59, 11));
  CHECK(pool.find(count_from(10, 20)).length == 0);  // nothing follows
  Tokens across{28, 29, 50, 51};
  CHECK(pool.find(across).length == 0);
}

TEST_CASE("pool: the longer context decides, then the newer text") {
  TextPool pool(200);
  pool.add(Tokens{1, 2, 3, 4, 5, 6, 7, 8, 100});
  pool.add(Tokens{91, 92, 93, 94, 5, 6, 7, 8, 101});
  pool.add(Tokens{81, 82, 83, 84, 5, 6, 7, 8, 102});
  const Tokens first{1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(pool.token(pool.find(first)) == 100);
  CHECK(pool.find(first).length == 8);
  CHECK(pool.token(pool.find(Tokens{5, 6, 7, 8})) == 102);
}

TEST_CASE("pool: old texts are overwritten, and what is left of them is never taken for a match") {
  Random random(4);
  for (int i = 0; i < scaled(40); ++i) {
    CAPTURE(i);
    const int capacity = random.between(2, 200);
    TextPool pool(static_cast<std::size_t>(capacity));
    std::vector<Tokens> texts;
    for (int k = 0; k < 30; ++k) {
      Tokens text;
      const int n = random.between(1, 60);
      for (int j = 0; j < n; ++j) text.push_back(random.between(0, random.pick({2, 30})));
      pool.add(text);
      texts.push_back(text);
      const Tokens& asked = texts[static_cast<std::size_t>(random.between(0, k))];
      const Tokens context(asked.begin(),
                           asked.begin() + random.between(1, static_cast<int>(asked.size())));
      const TextPool::Place place = pool.find(context);
      if (place.length == 0) continue;
      // Whatever is found stands in one of the texts, with its context.
      const Tokens rest = rest_of(pool, place);
      REQUIRE_FALSE(rest.empty());
      Tokens whole(context.end() - place.length, context.end());
      whole.insert(whole.end(), rest.begin(), rest.end());
      CHECK(std::ranges::any_of(
          texts, [&](const Tokens& one) { return !std::ranges::search(one, whole).empty(); }));
    }
  }
}

TEST_CASE("pool: the newest text is kept whole if it fits, or else its end") {
  TextPool pool(21);
  for (Token first = 0; first < 10; ++first) {
    pool.add(count_from(100 * first, 20));
    CHECK(n_found_of(pool, 100 * first, 20) >= 10);
  }
  pool.add(count_from(5000, 100));
  CHECK(pool.find(count_from(5000, 5)).length == 0);
  CHECK(n_found_of(pool, 5080, 20) >= 10);
}
