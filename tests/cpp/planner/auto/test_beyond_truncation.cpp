// What `auto` learns of tokens that only a loosened truncation leaves.
#include "specbranch/planner/auto/beyond_truncation.h"

#include <cmath>
#include <vector>

#include "specbranch/planner/auto/acceptance_model.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr Token kOwn = 1;
constexpr Token kBeyond = 2;
constexpr Token kOther = 3;

/// A draft that ranks as it is told: its own token first, one beyond its truncation, the rest.
/// `own` and `beyond`: the confidences without any weight.
std::vector<Candidate> candidates(const RankOptions& rank, double own, double beyond) {
  const double reduced = beyond * rank.beyond_weight;
  const double sum = 1.0 - beyond + reduced;
  std::vector<Candidate> found{{kOwn, own / sum}, {kOther, (1.0 - own - beyond) / sum}};
  const Candidate last{kBeyond, reduced / sum, true};
  if (rank.beyond_weight <= 0.0) return found;
  const bool leads = rank.beyond_first && reduced > own;
  found.insert(found.begin() + (leads ? 0 : 1), last);
  return found;
}

struct Pair {
  double own = 0.5;     ///< chance that the target chooses the draft's own token.
  double beyond = 0.1;  ///< ... the one beyond the truncation.
  double own_q = 0.5;   ///< the draft's confidences in them.
  double beyond_q = 0.2;
};

void learn(AcceptanceModel& model, const Pair& pair, int n, std::uint64_t seed) {
  Random random(seed);
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform();
    const Token token = u < pair.own ? kOwn : u < pair.own + pair.beyond ? kBeyond : kOther;
    model.observe(candidates(model.rank_options(8), pair.own_q, pair.beyond_q), token);
  }
}

}  // namespace

TEST_CASE("nothing is known: tokens beyond the truncation have their usual weight, and follow") {
  AcceptanceTable table;
  const RankOptions rank = AcceptanceModel(&table).rank_options(5);
  CHECK(rank.k == 5);
  CHECK(rank.beyond_weight == doctest::Approx(kBeyondWeight));
  CHECK_FALSE(rank.beyond_first);
}

TEST_CASE("the weight becomes the share of confidences that come true") {
  for (const double share : {0.0, 0.2, 0.5, 1.0}) {
    AcceptanceTable table;
    AcceptanceModel model(&table);
    const Pair pair{.own = 0.4, .beyond = 0.2 * share};
    learn(model, pair, 3000, 7);
    CAPTURE(share);
    const double weight = model.rank_options(8).beyond_weight;
    if (share == 0.0) {
      CHECK(weight < 0.03);  // not worth a branch any more
    } else {
      CHECK(std::abs(weight - share) < 0.1);
    }
    // What the planner expects of the token is what comes true, as long as it is proposed.
    const auto proposed = candidates(model.rank_options(8), pair.own_q, pair.beyond_q);
    const std::vector<double> chances = model.chances(proposed, 3);
    if (share > 0.0) CHECK(std::abs(chances.at(1) - pair.beyond) < 0.07);
  }
}

TEST_CASE("a weight that fell to nothing comes back when the text has changed") {
  AcceptanceTable table;
  AcceptanceModel model(&table);
  learn(model, {.beyond = 0.0}, 3000, 3);
  REQUIRE(model.rank_options(8).beyond_weight < 0.03);
  model.discount_history();
  CHECK(model.rank_options(8).beyond_weight > 0.05);
}

TEST_CASE("a weight of nothing is tried again, seldom, and rises if it was wrong") {
  AcceptanceTable table;
  AcceptanceModel model(&table);
  learn(model, {.beyond = 0.0}, 3000, 3);
  int n_tried = 0;
  for (int i = 0; i < 2000; ++i) {
    if (model.rank_options(8).beyond_weight > 0.0) ++n_tried;
    learn(model, {.beyond = 0.0}, 1, static_cast<std::uint64_t>(i));
  }
  CHECK(n_tried > 20);
  CHECK(n_tried < 300);
  learn(model, {.beyond = 0.2}, 3000, 5);
  CHECK(model.rank_options(8).beyond_weight > 0.5);
}

TEST_CASE("a draft that agrees with its target keeps its own first choice for ever") {
  AcceptanceTable table;
  AcceptanceModel model(&table);
  // The token beyond has the largest confidence, and the target never takes it.
  for (int i = 0; i < 2000; ++i) {
    model.observe(candidates(model.rank_options(8), 0.3, 0.5), kOwn);
    CHECK_FALSE(model.rank_options(8).beyond_first);
  }
  CHECK(model.rank_options(8).beyond_weight == 0.0);
}

TEST_CASE("tokens beyond the truncation lead where they are right more often, and only there") {
  AcceptanceTable table;
  AcceptanceModel model(&table);
  const Pair better{.own = 0.2, .beyond = 0.6, .own_q = 0.2, .beyond_q = 0.6};
  learn(model, better, 20, 11);
  CHECK_FALSE(model.rank_options(8).beyond_first);  // too early to tell
  learn(model, better, 200, 12);
  CHECK(model.rank_options(8).beyond_first);
  // Where both are equally good, there is no reason for a change.
  const Pair equal{.own = 0.4, .beyond = 0.4, .own_q = 0.3, .beyond_q = 0.4};
  learn(model, equal, 60, 13);
  CHECK(model.rank_options(8).beyond_first);
  const Pair worse{.own = 0.6, .beyond = 0.2, .own_q = 0.2, .beyond_q = 0.6};
  learn(model, worse, 600, 14);
  CHECK_FALSE(model.rank_options(8).beyond_first);
}

TEST_CASE("no trial where the token beyond the truncation is no rival, or both are wrong") {
  AcceptanceTable table;
  AcceptanceModel model(&table);
  for (int i = 0; i < 100; ++i) {
    model.observe(candidates(model.rank_options(8), 0.5, 0.2), kBeyond);
    model.observe(candidates(model.rank_options(8), 0.2, 0.5), kOther);
  }
  CHECK(table.beyond_trials == 0.0);
  CHECK_FALSE(table.beyond_first);
}

TEST_CASE("without truncation nothing is learned of it") {
  AcceptanceTable table;
  AcceptanceModel model(&table);
  const std::vector<Candidate> plain{{kOwn, 0.6}, {kOther, 0.3}};
  for (int i = 0; i < 100; ++i) model.observe(plain, kOther);
  CHECK(table.beyond_expected == 0.0);
  CHECK(model.rank_options(8).beyond_weight == doctest::Approx(kBeyondWeight));
  CHECK(table.rank_hits[1] > 0.0);
  // Their own counts stay apart from those of other ranks.
  const double known = table.rank_hits[1];
  model.observe(std::vector<Candidate>{{kOwn, 0.6}, {kBeyond, 0.1, true}}, kBeyond);
  CHECK(table.rank_hits[1] == known);
  CHECK(table.beyond_hits == 1.0);
}
