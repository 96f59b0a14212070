// From confidence to acceptance probability, learned from the target's choices.
#include "specbranch/planner/auto/acceptance_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

std::vector<Candidate> candidates(const std::vector<double>& confidences) {
  std::vector<Candidate> made;
  for (const double q : confidences) made.push_back({static_cast<Token>(made.size()), q});
  return made;
}

}  // namespace

TEST_CASE("without observations a confidence is taken at its word") {
  AcceptanceTable table;
  const AcceptanceModel acceptance(&table);
  const auto p = acceptance.chances(candidates({0.6, 0.2, 0.1}), 8);
  REQUIRE(p.size() == 3);
  CHECK(p[0] == doctest::Approx(0.6));
  CHECK(p[1] == doctest::Approx(0.2));
  CHECK(p[2] == doctest::Approx(0.1));
  CHECK(acceptance.chances({}, 4).empty());
  CHECK(acceptance.chances(candidates({0.6, 0.2}), 1).size() == 1);
}

TEST_CASE("chances converge to what a draft is worth, rank by rank") {
  AcceptanceTable table;
  AcceptanceModel acceptance(&table);
  Random random(5);
  // Says 0.3, 0.3, 0.2; is right 0.6, 0.1, 0.2 of the time.
  const auto said = candidates({0.3, 0.3, 0.2});
  for (int i = 0; i < 4000; ++i) {
    const double u = random.uniform();
    acceptance.observe(said, u < 0.6 ? 0 : u < 0.7 ? 1 : u < 0.9 ? 2 : 9);
  }
  const auto p = acceptance.chances(said, 3);
  CHECK(p[0] == doctest::Approx(0.6).epsilon(0.15));
  CHECK(p[1] == doctest::Approx(0.1).epsilon(0.25));
  CHECK(p[2] == doctest::Approx(0.2).epsilon(0.25));
  CHECK(acceptance.alpha() == doctest::Approx(0.6).epsilon(0.25));
  // Another confidence has a bin of its own.
  CHECK(acceptance.chances(candidates({0.9}), 1)[0] == doctest::Approx(0.9));
}

TEST_CASE("no chance exceeds the first one, and they never sum to more than one") {
  AcceptanceTable table;
  AcceptanceModel acceptance(&table);
  for (int i = 0; i < 300; ++i) {
    acceptance.observe(candidates({0.2, 0.19, 0.18, 0.17}), 1 + i % 3);
  }
  Random random(6);
  for (int i = 0; i < 1000; ++i) {
    std::vector<double> q(static_cast<std::size_t>(random.between(1, 8)));
    for (double& one : q) one = random.uniform();
    std::ranges::sort(q, std::greater<>());
    if (random.chance(0.1)) q[0] = 1.0;
    const auto p = acceptance.chances(candidates(q), 8);
    CHECK(std::accumulate(p.begin(), p.end(), 0.0) <= 1.0 + 1e-9);
    for (const double one : p) {
      CHECK(one >= 0.0);
      CHECK(one <= p[0]);
    }
  }
}

TEST_CASE("a change shows soon once the history was discounted") {
  AcceptanceTable table;
  AcceptanceModel acceptance(&table);
  for (int i = 0; i < 1000; ++i) acceptance.observe(candidates({0.8, 0.1}), 5);
  CHECK(acceptance.alpha() < 0.05);
  CHECK(acceptance.evidence() > 50);
  acceptance.discount_history();
  CHECK(acceptance.evidence() <= 4.0);
  for (int i = 0; i < 8; ++i) acceptance.observe(candidates({0.8, 0.1}), 0);
  CHECK(acceptance.alpha() > 0.6);
  CHECK(acceptance.chances(candidates({0.8}), 1)[0] > 0.5);
}

TEST_CASE("a confidence that is no number says nothing") {
  AcceptanceTable table;
  AcceptanceModel acceptance(&table);
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    acceptance.observe(candidates({bad, 0.1}), 0);
    acceptance.observe(candidates({0.5, bad}), 1);
  }
  CHECK(table == AcceptanceTable{});
  acceptance.observe(candidates({0.5, 0.1}), 1);
  CHECK_FALSE(table == AcceptanceTable{});
}

TEST_CASE("classes: shares of one, as right as first choices are, the sure ones apart") {
  AcceptanceTable table;
  AcceptanceModel acceptance(&table);
  const auto check = [&](double optimism, double mean) {
    double share = 0.0;
    double chance = 0.0;
    double last = 0.0;
    for (const AcceptanceClass& one : acceptance.acceptance_classes(optimism)) {
      CHECK(one.share > 0.0);
      CHECK(one.chance >= last);
      CHECK(one.chance <= 1.0);
      last = one.chance;
      share += one.share;
      chance += one.share * one.chance;
    }
    CHECK(share == doctest::Approx(1.0));
    CHECK(chance == doctest::Approx(mean));
  };
  check(0.0, acceptance.alpha());
  CHECK(acceptance.acceptance_classes(0.0).size() > 1);
  // Sure ones are right, the others never.
  for (int i = 0; i < 600; ++i)
    acceptance.observe(candidates({i % 3 == 0 ? 0.3 : 0.97, 0.01}), i % 3 == 0 ? 1 : 0);
  check(0.0, acceptance.alpha());
  const double a = acceptance.alpha();
  check(2.0, a + 2.0 * std::sqrt(a * (1.0 - a) / (table.first_count + 4.0)));
  check(-2.0, a - 2.0 * std::sqrt(a * (1.0 - a) / (table.first_count + 4.0)));
  CHECK(acceptance.acceptance_classes(0.0).front().chance < 0.2);
  CHECK(acceptance.acceptance_classes(0.0).back().chance > 0.9);
  CHECK(std::accumulate(table.seen.begin(), table.seen.end(), 0.0) ==
        doctest::Approx(table.first_count));
  acceptance.discount_history();
  CHECK(std::accumulate(table.seen.begin(), table.seen.end(), 0.0) ==
        doctest::Approx(table.first_count));
  check(0.0, acceptance.alpha());
}

TEST_CASE("classes: a hopeless draft and a perfect one") {
  for (const bool perfect : {false, true}) {
    AcceptanceTable table;
    AcceptanceModel acceptance(&table);
    for (int i = 0; i < 400; ++i) acceptance.observe(candidates({0.6, 0.1}), perfect ? 0 : 7);
    for (const AcceptanceClass& one : acceptance.acceptance_classes(0.0)) {
      if (one.share < 0.1) continue;
      CHECK((one.chance > 0.9) == perfect);
      CHECK((one.chance < 0.1) == !perfect);
    }
  }
}
