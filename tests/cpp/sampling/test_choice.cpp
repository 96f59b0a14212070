// The choice rule against brute force: ties, forbidden tokens, damaged scores, ranking.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/sampling/choice.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<Scored> with_ids(const std::vector<float>& scores) {
  std::vector<Scored> scored;
  for (const float score : scores) scored.push_back({static_cast<Token>(scored.size()), score});
  return scored;
}

Token brute_force(const std::vector<float>& scores, const PositionNoise* noise) {
  Token best = -1;
  double best_value = 0.0;
  for (Token token = 0; token < static_cast<Token>(scores.size()); ++token) {
    const float score = scores[static_cast<std::size_t>(token)];
    if (score == kMinusInf) continue;
    const double value = static_cast<double>(score) + (noise != nullptr ? noise->gumbel(token) : 0);
    if (best < 0 || value > best_value) {
      best = token;
      best_value = value;
    }
  }
  return best;
}

/// Scores of every awkward kind: flat, peaked, tied, quantised, partly forbidden.
std::vector<float> draw_scores(Random& random) {
  const int n = random.pick({1, 2, 3, 8, 64, 65, 200, 1000});
  const double spread = random.pick({0.0, 0.01, 1.0, 5.0, 40.0, 3000.0});
  const double step = random.pick({0.0, 0.5, 4.0});
  const double forbidden = random.pick({0.0, 0.0, 0.3, 0.99});
  std::vector<float> scores;
  for (int i = 0; i < n; ++i) {
    double score = spread * (random.uniform() - 0.5);
    if (step > 0) score = std::round(score / step) * step;
    scores.push_back(random.chance(forbidden) ? kMinusInf : static_cast<float>(score));
  }
  return scores;
}

}  // namespace

TEST_CASE("choose, choose_dense and brute force agree") {
  Random random(1);
  for (int i = 0; i < scaled(4'000); ++i) {
    const std::vector<float> scores = draw_scores(random);
    const PositionNoise noise(random.next(), random.between(0, 100'000));
    const PositionNoise* given = random.chance(0.3) ? nullptr : &noise;
    const Token expected = brute_force(scores, given);
    CAPTURE(i);
    CHECK(choose_dense(ScoreRow(scores), 1.0F, given) == expected);
    std::vector<Scored> scored = with_ids(scores);
    CHECK(choose(scored, given) == expected);
    // The order of the candidates does not matter.
    for (std::size_t j = scored.size(); j > 1; --j) {
      std::swap(scored[j - 1],
                scored[static_cast<std::size_t>(random.between(0, static_cast<int>(j) - 1))]);
    }
    const std::int64_t index = choose(scored, given);
    CHECK((index < 0 ? -1 : scored[static_cast<std::size_t>(index)].token) == expected);
  }
}

TEST_CASE("candidates left out by truncation do not change the choice among the rest") {
  // Coupling: a token that is allowed in both sets and chosen from the larger one is chosen from
  // the smaller one, too.
  Random random(2);
  for (int i = 0; i < scaled(1'000); ++i) {
    const std::vector<float> scores = draw_scores(random);
    const PositionNoise noise(random.next(), 7);
    const std::vector<Scored> all = with_ids(scores);
    const std::int64_t chosen = choose(all, &noise);
    if (chosen < 0) continue;
    std::vector<Scored> some;
    for (const Scored& item : all) {
      if (item.token == chosen || random.chance(0.5)) some.push_back(item);
    }
    CHECK(some[static_cast<std::size_t>(choose(some, &noise))].token == chosen);
  }
}

TEST_CASE("the lowest id wins a tie") {
  const std::vector<float> tied{1, 3, 3, 2};
  CHECK(choose_dense(ScoreRow(tied), 1.0F, nullptr) == 1);
  const std::vector<Scored> scored{{9, 3.0F}, {4, 3.0F}, {6, 3.0F}, {1, 2.0F}};
  CHECK(choose(scored, nullptr) == 1);
}

TEST_CASE("nothing allowed: no choice") {
  const PositionNoise noise(1, 1);
  const std::vector<float> none{kMinusInf, kMinusInf};
  for (const PositionNoise* given : {static_cast<const PositionNoise*>(nullptr), &noise}) {
    CHECK(choose(with_ids(none), given) == -1);
    CHECK(choose({}, given) == -1);
    CHECK(choose_dense(ScoreRow(none), 1.0F, given) == -1);
    CHECK(choose_dense(ScoreRow({}), 1.0F, given) == -1);
    CHECK(rank(with_ids(none), given, 4).empty());
    CHECK(rank({}, given, 4).empty());
  }
}

TEST_CASE("a score that is not a number is an error wherever it stands") {
  const PositionNoise noise(1, 1);
  for (std::size_t at = 0; at < 5; ++at) {
    std::vector<float> scores{1, 2, kMinusInf, 0, 5};
    scores[at] = kNan;
    for (const PositionNoise* given : {static_cast<const PositionNoise*>(nullptr), &noise}) {
      CHECK_THROWS_AS(static_cast<void>(choose(with_ids(scores), given)), DecodeError);
      CHECK_THROWS_AS(static_cast<void>(choose_dense(ScoreRow(scores), 1.0F, given)), DecodeError);
      CHECK_THROWS_AS(static_cast<void>(rank(with_ids(scores), given, 2)), DecodeError);
    }
  }
}

TEST_CASE("an infinite score: both forms choose the same") {
  const float inf = std::numeric_limits<float>::infinity();
  const PositionNoise noise(3, 4);
  const std::vector<float> scores{1, inf, 7, inf};
  for (const PositionNoise* given : {static_cast<const PositionNoise*>(nullptr), &noise}) {
    CHECK(choose(with_ids(scores), given) == 1);
    CHECK(choose_dense(ScoreRow(scores), 1.0F, given) == 1);
  }
}

TEST_CASE("rank: perturbed order, confidences of the perturbed scores") {
  Random random(3);
  for (int i = 0; i < scaled(1'500); ++i) {
    const std::vector<float> scores = draw_scores(random);
    const PositionNoise noise(random.next(), random.between(0, 5000));
    const PositionNoise* given = random.chance(0.3) ? nullptr : &noise;
    const int k = random.between(0, 12);
    const std::vector<Candidate> ranked = rank(with_ids(scores), given, k);

    // By hand: the best 64 by score, then perturbed.
    std::vector<Scored> best;
    for (const Scored& item : with_ids(scores)) {
      if (item.score != kMinusInf) best.push_back(item);
    }
    std::ranges::stable_sort(best, std::greater{}, &Scored::score);
    if (best.size() > kDraftCandidates) best.resize(kDraftCandidates);
    std::vector<std::pair<double, Token>> values;
    for (const auto& [token, score] : best) {
      values.emplace_back(
          -(static_cast<double>(score) + (given != nullptr ? noise.gumbel(token) : 0)), token);
    }
    std::ranges::sort(values);
    double sum = 0.0;
    for (const auto& [value, token] : values) sum += std::exp(values[0].first - value);
    CAPTURE(i);
    REQUIRE(ranked.size() == std::min(values.size(), static_cast<std::size_t>(k)));
    double total = 0.0;
    for (std::size_t j = 0; j < ranked.size(); ++j) {
      CHECK(ranked[j].token == values[j].second);
      CHECK(ranked[j].confidence ==
            doctest::Approx(std::exp(values[0].first - values[j].first) / sum));
      if (j > 0) CHECK(ranked[j].confidence <= ranked[j - 1].confidence);
      total += ranked[j].confidence;
    }
    CHECK(total <= 1.0 + 1e-12);
    // The first is what the target would choose from the same scores.
    if (!ranked.empty() && scores.size() <= kDraftCandidates) {
      CHECK(ranked[0].token == choose_dense(ScoreRow(scores), 1.0F, given));
    }
  }
}

TEST_CASE("at temperature 0 confidences are the softmax") {
  const std::vector<float> scores{0.5F, 2.0F, -1.0F, 2.0F};
  const std::vector<Candidate> ranked = rank(with_ids(scores), nullptr, 4);
  REQUIRE(ranked.size() == 4);
  CHECK(ranked[0].token == 1);
  CHECK(ranked[1].token == 3);
  double total = 0.0;
  for (const Candidate& candidate : ranked) {
    CHECK(candidate.confidence ==
          doctest::Approx(std::exp(log_softmax_at(scores, candidate.token))));
    total += candidate.confidence;
  }
  CHECK(total == doctest::Approx(1.0));
}

TEST_CASE("the largest scores of a row are a stable sort cut short") {
  Random random(4);
  for (int i = 0; i < scaled(2'000); ++i) {
    const std::vector<float> scores = draw_scores(random);
    const int k = random.between(-1, 70);
    std::vector<Scored> expected = with_ids(scores);
    std::ranges::stable_sort(expected, std::greater{}, &Scored::score);
    expected.resize(std::min(expected.size(), static_cast<std::size_t>(std::max(k, 0))));
    const std::vector<Scored> got = ScoreRow(scores).largest(k);
    REQUIRE(got.size() == expected.size());
    for (std::size_t j = 0; j < got.size(); ++j) {
      CHECK(got[j].token == expected[j].token);
      CHECK(got[j].score == expected[j].score);
    }
  }
  CHECK(ScoreRow({}).largest(5).empty());
}

TEST_CASE("log_softmax_at is stable and normalised") {
  Random random(5);
  for (const float offset : {0.0F, 1e4F, -1e4F}) {
    std::vector<float> scores;
    for (int i = 0; i < 50; ++i) {
      scores.push_back(offset + std::round(static_cast<float>(random.uniform()) * 16));
    }
    double total = 0.0;
    long double sum = 0.0L;
    for (const float score : scores) sum += std::exp(static_cast<long double>(score - offset));
    for (Token token = 0; token < 50; ++token) {
      const double got = log_softmax_at(scores, token);
      const float score = scores[static_cast<std::size_t>(token)];
      CHECK(got == doctest::Approx(static_cast<double>(score - offset) -
                                   static_cast<double>(std::log(sum))));
      total += std::exp(got);
    }
    CHECK(total == doctest::Approx(1.0));
  }
  const std::vector<float> one{kMinusInf, 3.0F};
  CHECK(log_softmax_at(one, 1) == 0.0);
  CHECK(std::isinf(log_softmax_at(one, 0)));
}
