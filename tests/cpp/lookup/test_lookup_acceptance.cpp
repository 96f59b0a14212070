// The probability of a proposal, by its class.
#include "specbranch/lookup/lookup_acceptance.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("lookup acceptance: at first, longer, unambiguous and right is more probable") {
  LookupTable table;
  const LookupAcceptance acceptance(&table);
  for (const LookupKind kind :
       {LookupKind::kMatch, LookupKind::kCopy, LookupKind::kPrediction, LookupKind::kPool}) {
    for (const bool unique : {false, true}) {
      for (const bool right : {false, true}) {
        double last = 0.0;
        for (const int length : {1, 2, 4, 8, 16, 32}) {
          const double p = acceptance.probability({kind, length, unique, right});
          CHECK(p > last);
          CHECK(p < 1.0);
          last = p;
        }
        CHECK(acceptance.probability({kind, 0, unique, right}) ==
              acceptance.probability({kind, 1, unique, right}));
        CHECK(acceptance.probability({kind, 1000, unique, right}) == last);
      }
    }
    CHECK(acceptance.probability({kind, 4, true, true}) >
          acceptance.probability({kind, 4, false, true}));
    CHECK(acceptance.probability({kind, 4, true, true}) >
          acceptance.probability({kind, 4, true, false}));
  }
}

TEST_CASE("lookup acceptance: each class learns its own share, and forgets") {
  LookupTable table;
  LookupAcceptance acceptance(&table);
  const LookupClass often{LookupKind::kMatch, 4, true, true};
  const LookupClass others[] = {{LookupKind::kCopy, 4, true, true},
                                {LookupKind::kMatch, 8, true, true},
                                {LookupKind::kMatch, 4, false, true},
                                {LookupKind::kMatch, 4, true, false}};
  double before[4];
  for (int i = 0; i < 4; ++i) before[i] = acceptance.probability(others[i]);
  Random random(3);
  for (int i = 0; i < 2000; ++i) acceptance.observe(often, random.chance(0.25));
  CHECK(acceptance.probability(often) == doctest::Approx(0.25).epsilon(0.5));
  for (int i = 0; i < 4; ++i) CHECK(acceptance.probability(others[i]) == before[i]);
  for (int i = 0; i < 300; ++i) acceptance.observe(often, true);
  CHECK(acceptance.probability(often) > 0.9);
  CHECK(acceptance.probability(often) < 1.0);
}

TEST_CASE("lookup acceptance: in a new text little of what was learned remains") {
  LookupTable table;
  LookupAcceptance acceptance(&table);
  const LookupClass one{LookupKind::kMatch, 4, true, true};
  const double before = acceptance.probability(one);
  for (int i = 0; i < 100; ++i) acceptance.observe(one, false);
  const double learned = acceptance.probability(one);
  acceptance.begin_text();
  const double carried = acceptance.probability(one);
  CHECK(carried > 0.3 * before);
  CHECK(carried < 0.6 * before);
  acceptance.begin_text();  // again: no more is forgotten
  CHECK(acceptance.probability(one) == carried);
  for (int i = 0; i < 10; ++i) acceptance.observe(one, false);
  CHECK(acceptance.probability(one) < 0.25 * before);
  CHECK(learned < acceptance.probability(one));
}
