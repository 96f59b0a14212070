// The lazy ledger against a model that keeps every sequence in full.
#include <algorithm>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/tree/kv_ledger.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Tokens = std::vector<Token>;

Pos common_prefix(const Tokens& a, const Tokens& b) {
  return static_cast<Pos>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

TEST_CASE("the ledger is the naive one under random operations") {
  for (int i = 0; i < scaled(2'000); ++i) {
    Random random(static_cast<std::uint64_t>(i));
    const int n_seq = random.between(1, 5);
    // Two tokens, so that paths agree by chance all the time.
    const auto draw = [&] { return random.between(0, random.chance(0.9) ? 1 : 3); };
    Tokens committed;
    for (int n = random.between(1, 6); n > 0; --n) committed.push_back(draw());
    KvLedger ledger;
    ledger.reset(committed, n_seq);
    std::vector<Tokens> naive(static_cast<std::size_t>(n_seq));
    std::vector<Pos> lengths;
    for (Tokens& cells : naive) {
      lengths.push_back(random.between(0, static_cast<int>(committed.size())));
      cells.assign(committed.begin(), committed.begin() + lengths.back());
    }
    ledger.begin(lengths);
    CAPTURE(i);
    for (int op = 0; op < 60; ++op) {
      const SeqId a = random.between(0, n_seq - 1);
      const SeqId b = random.between(0, n_seq - 1);
      Tokens& cells = naive[static_cast<std::size_t>(a)];
      switch (random.between(0, 5)) {
        case 0: {
          const Token token = draw();
          ledger.commit(token);
          committed.push_back(token);
          break;
        }
        case 1: {
          const Token token = draw();
          ledger.append(a, token);
          cells.push_back(token);
          break;
        }
        case 2: {
          // What a draft does most: decode what was committed.
          if (cells.size() < committed.size()) {
            ledger.append(a, committed[cells.size()]);
            cells.push_back(committed[cells.size()]);
          }
          break;
        }
        case 3: {
          const Pos length = random.between(0, static_cast<int>(cells.size()));
          ledger.truncate(a, length);
          cells.resize(static_cast<std::size_t>(length));
          break;
        }
        case 4: {
          const Pos length = random.between(0, static_cast<int>(cells.size()));
          ledger.copy(a, b, length);
          const Tokens copy(cells.begin(), cells.begin() + length);
          naive[static_cast<std::size_t>(b)] = copy;
          break;
        }
        default: {
          Tokens tail;
          for (int n = random.between(0, 4); n > 0; --n) tail.push_back(draw());
          Tokens path = committed;
          path.insert(path.end(), tail.begin(), tail.end());
          CHECK(ledger.common(a, tail) == common_prefix(cells, path));
          CHECK(ledger.common_of(a, b) == common_prefix(cells, naive[static_cast<std::size_t>(b)]));
        }
      }
      for (SeqId seq = 0; seq < n_seq; ++seq) {
        CHECK(ledger.length(seq) == static_cast<Pos>(naive[static_cast<std::size_t>(seq)].size()));
      }
    }
    CHECK(std::ranges::equal(ledger.committed(), committed));
    for (SeqId a = 0; a < n_seq; ++a) {
      CHECK(ledger.common(a, Tokens{}) ==
            common_prefix(naive[static_cast<std::size_t>(a)], committed));
      for (SeqId b = 0; b < n_seq; ++b) {
        CHECK(ledger.common_of(a, b) == common_prefix(naive[static_cast<std::size_t>(a)],
                                                      naive[static_cast<std::size_t>(b)]));
      }
    }
  }
}

TEST_CASE("reset forgets") {
  KvLedger ledger;
  ledger.reset({1, 2, 3}, 2);
  ledger.append(1, 9);
  ledger.reset({4}, 3);
  CHECK(ledger.n_seq() == 3);
  for (SeqId seq = 0; seq < 3; ++seq) CHECK(ledger.length(seq) == 0);
  CHECK(ledger.committed().size() == 1);
}

TEST_CASE("a begin with other lengths than the text allows breaks a precondition") {
  KvLedger ledger;
  ledger.reset({1, 2, 3}, 2);
  for (const std::vector<Pos>& lengths : {std::vector<Pos>{}, {1}, {1, 2, 3}, {1, 4}, {-1, 0}}) {
    CHECK_THROWS_AS(ledger.begin(lengths), PreconditionError);
    CHECK(ledger.length(0) == 0);
    CHECK(ledger.length(1) == 0);
  }
}

TEST_CASE("cutting to more than there is breaks a precondition") {
  KvLedger ledger;
  ledger.reset({1, 2, 3}, 2);
  ledger.begin(std::vector<Pos>{2, 0});
  CHECK_THROWS_AS(ledger.truncate(0, 3), PreconditionError);
  CHECK(ledger.length(0) == 2);
  CHECK_THROWS_AS(ledger.copy(0, 1, 3), PreconditionError);
  CHECK(ledger.length(0) == 2);
}
