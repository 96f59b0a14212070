// Is decoding slower than plain decoding, or was it only unlucky?
#include "specbranch/planner/auto/rate_meter.h"

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("a rate begins as promised and becomes what is measured") {
  RateMeter meter;
  CHECK(meter.rate(0.002) == doctest::Approx(0.002));
  CHECK(meter.measured() == 0.0);
  for (int i = 0; i < 400; ++i) meter.add(2, 500.0, 1000.0);
  CHECK(meter.measured() == doctest::Approx(0.004));
  CHECK(meter.rate(0.002) == doctest::Approx(0.004).epsilon(0.05));
  meter.reset();
  CHECK(meter.measured() == 0.0);
}

TEST_CASE("steadily slower is slower, by the share that was asked for") {
  RateMeter meter;
  CHECK_FALSE(meter.below(0.97));
  for (int i = 0; i < 50; ++i) meter.add(1, 1020.0, 1000.0);
  CHECK_FALSE(meter.below(0.97));
  for (int i = 0; i < 400; ++i) meter.add(1, 1050.0, 1000.0);
  CHECK(meter.below(0.97));
}

TEST_CASE("a slump of a rate that scatters is no proof, a long one is") {
  // Windows of eight tokens or of one, both in four steps' time: gains of 4 and -3, by chance.
  Random random(3);
  RateMeter even;
  int n_below = 0;
  for (int i = 0; i < 2000; ++i) {
    even.add(random.chance(0.45) ? 8 : 1, 4000.0, 1000.0);
    n_below += i > 20 && even.below(0.97) ? 1 : 0;
  }
  CHECK(n_below < 40);
  RateMeter worse;
  n_below = 0;
  for (int i = 0; i < 2000; ++i) {
    worse.add(random.chance(0.25) ? 8 : 1, 4000.0, 1000.0);
    n_below += i > 20 && worse.below(0.97) ? 1 : 0;
  }
  CHECK(n_below > 1800);
}

TEST_CASE("what a batch brought counts as long for several texts as for one") {
  RateMeter one;
  RateMeter four;
  for (int batch = 0; batch < 150; ++batch) {
    one.add(1, 1050.0, 1000.0);
    for (int text = 0; text < 4; ++text) four.add(1, 1050.0, 1000.0, 4);
  }
  CHECK(four.lost() == doctest::Approx(4.0 * one.lost()).epsilon(0.01));
  CHECK(four.measured() == doctest::Approx(one.measured()));
}
