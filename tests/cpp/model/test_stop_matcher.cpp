// Stop strings against a matcher that keeps the whole text.
#include <algorithm>
#include <string>
#include <vector>

#include "specbranch/model/stop_matcher.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// Keeps everything and looks at everything again after every piece.
class NaiveMatcher {
 public:
  explicit NaiveMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  StopMatcher::Result append(const std::string& piece) {
    text_ += piece;
    for (std::size_t begin = 0; begin < text_.size(); ++begin) {
      for (const std::string& stop : stops_) {
        if (text_.compare(begin, stop.size(), stop) == 0) return show(begin, stop);
      }
    }
    // Byte i is safe unless some stop string could begin there or before and not be complete yet.
    std::size_t safe = text_.size();
    for (std::size_t i = text_.size(); i-- > 0;) {
      for (const std::string& stop : stops_) {
        if (stop.starts_with(text_.substr(i))) safe = i;
      }
    }
    return show(safe);
  }

  std::string finish() { return show(text_.size()).bytes; }

 private:
  StopMatcher::Result show(std::size_t end, const std::string& stop = {}) {
    StopMatcher::Result result{text_.substr(shown_, end - shown_), stop};
    shown_ = end;
    return result;
  }

  std::vector<std::string> stops_;
  std::string text_;
  std::size_t shown_ = 0;
};

std::string draw_text(Random& random, const std::string& letters, int low, int high) {
  std::string text;
  const int n = random.between(low, high);
  for (int i = 0; i < n; ++i) {
    text +=
        letters[static_cast<std::size_t>(random.between(0, static_cast<int>(letters.size()) - 1))];
  }
  return text;
}

std::string all_of(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  std::string text;
  for (const std::string& piece : pieces) {
    const StopMatcher::Result result = matcher.append(piece);
    text += result.bytes;
    if (!result.stop.empty()) return text + "|" + result.stop;
  }
  return text + matcher.finish();
}

}  // namespace

TEST_CASE("the stop matcher is the naive one, piece by piece") {
  Random random(1);
  for (int i = 0; i < scaled(20'000); ++i) {
    // Two letters: borders and overlaps everywhere; then bytes of UTF-8 and zeros.
    const std::string letters = random.chance(0.5)   ? "ab"
                                : random.chance(0.5) ? "abc"
                                                     : std::string("\0\xC3\xA9\xE2\x82\xAC", 6);
    std::vector<std::string> stops;
    const int n_stops = random.between(0, 4);
    for (int s = 0; s < n_stops; ++s) stops.push_back(draw_text(random, letters, 1, 6));
    StopMatcher matcher(stops);
    NaiveMatcher naive(stops);
    CAPTURE(i);
    bool stopped = false;
    for (int piece = 0; piece < 12 && !stopped; ++piece) {
      const std::string bytes = draw_text(random, letters, 0, 4);
      const StopMatcher::Result got = matcher.append(bytes);
      const StopMatcher::Result expected = naive.append(bytes);
      CHECK(got.bytes == expected.bytes);
      CHECK(got.stop == expected.stop);
      stopped = !expected.stop.empty();
    }
    CHECK(matcher.finish() == (stopped ? "" : naive.finish()));
  }
}

TEST_CASE("without stop strings every byte is shown at once") {
  StopMatcher matcher({});
  CHECK(matcher.append("abc").bytes == "abc");
  CHECK(matcher.append("").bytes.empty());
  CHECK(matcher.finish().empty());
}

TEST_CASE("no stop string begins in the first pieces, if they are free") {
  StopMatcher matcher({"ab"}, 2);
  CHECK(matcher.append("xab").bytes == "xab");
  CHECK(matcher.append("ya").bytes == "ya");
  CHECK(matcher.append("bza").bytes == "bz");
  const StopMatcher::Result result = matcher.append("b");
  CHECK(result.stop == "ab");
  CHECK(result.bytes.empty());
}

TEST_CASE("a stop string across pieces, with a false start before it") {
  CHECK(all_of({"END"}, {"xE", "N", "EN", "D", "y"}) == "xEN|END");
  CHECK(all_of({"aab"}, {"a", "a", "a", "a", "b"}) == "aa|aab");
  CHECK(all_of({"abab"}, {"aba", "aba", "b"}) == "aba|abab");
}

TEST_CASE("the one that begins first wins; a stop inside a longer possible one stops") {
  CHECK(all_of({"cd", "bcde"}, {"abcdef"}) == "a|bcde");
  CHECK(all_of({"bcde", "cd"}, {"abcd", "ef"}) == "ab|cd");
  CHECK(all_of({"\n", "\n\n"}, {"a\n", "\n"}) == "a|\n");
  CHECK(all_of({"\n\n", "\n"}, {"a\n\n"}) == "a|\n\n");  // the first in the list
}

TEST_CASE("what turns out to be no stop string is shown as soon as it is certain") {
  StopMatcher matcher({"<|end|>"});
  CHECK(matcher.append("a <|en").bytes == "a ");
  CHECK(matcher.append("d|").bytes.empty());
  CHECK(matcher.append("x <").bytes == "<|end|x ");
  CHECK(matcher.finish() == "<");
  CHECK(matcher.finish().empty());
}

TEST_CASE("stop strings that look like each other and like the text cost no more than others") {
  // A matcher that looks at all that it holds back, after each piece, would take hours.
  constexpr std::size_t kLength = 200'000;
  std::vector<std::string> stops;
  for (std::size_t i = 0; i < 63; ++i) stops.push_back(std::string(kLength / 2 + i, 'a') + "b");
  StopMatcher matcher(stops);
  std::string shown;
  for (std::size_t i = 0; i < kLength / 4; ++i) {
    const StopMatcher::Result result = matcher.append("aaaa");
    REQUIRE(result.stop.empty());
    shown += result.bytes;
  }
  CHECK(shown == std::string(kLength / 2 - 62, 'a'));
  const StopMatcher::Result last = matcher.append("aab");
  CHECK(last.stop == stops.back());
  CHECK(shown + last.bytes == std::string(kLength / 2 + 2 - 62, 'a'));
}
