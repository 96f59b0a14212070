// A copy with changes: the cursor finds its place again at once.
#include <vector>

#include "specbranch/lookup/copy_cursor.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Tokens = std::vector<Token>;

/// A text without repetitions: only the place says what comes next.
Tokens numbers(int n) {
  Tokens text;
  for (int i = 0; i < n; ++i) text.push_back(i);
  return text;
}

/// The cursor after `copied`, from the begin of `text`.
CopyCursor after(const Tokens& text, const Tokens& copied) {
  CopyCursor cursor;
  cursor.jump(0, 8);
  for (const Token token : copied) cursor.step(text, token);
  return cursor;
}

constexpr Token kNew = 1000;

}  // namespace

TEST_CASE("copy: token by token, to the end of the text") {
  const Tokens text = numbers(5);
  CopyCursor cursor;
  CHECK_FALSE(cursor.active(text));
  cursor.step(text, 0);
  CHECK_FALSE(cursor.active(text));
  cursor.jump(0, 8);
  for (Token token = 0; token < 5; ++token) {
    REQUIRE(cursor.active(text));
    CHECK(cursor.next == token);
    CHECK(cursor.length == 8 + token);
    CHECK(cursor.n_lost == 0);
    cursor.step(text, token);
  }
  CHECK_FALSE(cursor.active(text));
}

TEST_CASE("copy: a replaced token, a new one and one that is left out") {
  const Tokens text = numbers(50);
  CHECK(after(text, {0, 1, 2, kNew}).next == 4);
  CHECK(after(text, {0, 1, 2, kNew}).length == 0);
  CHECK(after(text, {0, 1, 2, kNew, 4, 5}).next == 6);
  CHECK(after(text, {0, 1, 2, kNew, 3}).next == 4);
  CHECK(after(text, {0, 1, 2, kNew, 3}).length == 1);
  CHECK(after(text, {0, 1, 2, kNew, kNew + 1, 4}).next == 5);
  CHECK(after(text, {0, 1, 2, 4}).next == 5);
  CHECK(after(text, {0, 1, 2, 8}).next == 9);
  CHECK(after(text, {0, 1, 2, kNew, kNew, kNew, 5, 6}).next == 7);
}

TEST_CASE("copy: a change is over after a few copied tokens") {
  const Tokens text = numbers(50);
  CHECK(after(text, {0, 1, kNew}).n_lost == 1);
  CHECK(after(text, {0, 1, kNew, 3, 4, 5}).n_lost == 1);
  CHECK(after(text, {0, 1, kNew, 3, 4, 5, 6}).n_lost == 0);
  CHECK(after(text, {0, 1, kNew, 3, 4, 5, 6}).length == 4);
}

TEST_CASE("copy: it ends after many tokens that stand nowhere near") {
  const Tokens text = numbers(50);
  Tokens copied{0, 1, 2};
  for (int i = 0; i < CopyCursor::kMostLost; ++i) {
    copied.push_back(kNew);
    CHECK(after(text, copied).active(text));
  }
  copied.push_back(kNew);
  CHECK_FALSE(after(text, copied).active(text));
}

TEST_CASE("copy: of two such tokens, the one nearest to where the copy would be") {
  //                  0  1  2  3  4  5  6  7
  const Tokens text{0, 1, 2, 7, 4, 7, 6, 9};
  CHECK(after(text, {0, 1, kNew, 7}).next == 4);
  CHECK(after(text, {0, 1, kNew, kNew, kNew, 7}).next == 6);
  const Tokens twice{0, 1, 7, 3, 4, 5, 6, 7, 8};
  CHECK(after(twice, {0, 1, kNew, 7}).next == 3);
}
