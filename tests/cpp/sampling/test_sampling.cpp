// Coupled choice samples the target's distribution exactly, with and without branches.
#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "specbranch/sampling/choice.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr int kVocab = 8;

std::array<double, kVocab> softmax(const std::vector<float>& scores) {
  std::array<double, kVocab> p{};
  for (int i = 0; i < kVocab; ++i) {
    p[static_cast<std::size_t>(i)] = std::exp(log_softmax_at(scores, i));
  }
  return p;
}

using Counts = std::array<std::int64_t, kVocab>;

/// Pearson's statistic over the cells that expect at least five, and its degrees of freedom.
struct ChiSquare {
  double value = 0.0;
  int degrees = 0;

  void add(const Counts& counts, const std::array<double, kVocab>& p) {
    std::int64_t n = 0;
    for (const std::int64_t count : counts) n += count;
    double rest_expected = 0.0;
    double rest_count = 0.0;
    int cells = 0;
    const auto cell = [&](double count, double expected) {
      value += (count - expected) * (count - expected) / expected;
      ++cells;
    };
    for (std::size_t i = 0; i < kVocab; ++i) {
      const double expected = static_cast<double>(n) * p[i];
      if (expected < 5.0) {
        rest_expected += expected;
        rest_count += static_cast<double>(counts[i]);
      } else {
        cell(static_cast<double>(counts[i]), expected);
      }
    }
    if (rest_expected >= 1.0) cell(rest_count, rest_expected);
    degrees += std::max(0, cells - 1);
  }

  /// Standard normal, nearly (Wilson and Hilferty): beyond 3.5 has p = 0.0002.
  double z() const {
    const double k = degrees;
    return (std::cbrt(value / k) - (1.0 - 2.0 / (9.0 * k))) / std::sqrt(2.0 / (9.0 * k));
  }
};

}  // namespace

TEST_CASE("coupled choice samples the softmax exactly") {
  const std::vector<float> scores{0.0F, 1.0F, -1.0F, 2.0F, 0.5F, -3.0F, 1.5F, 0.1F};
  const auto p = softmax(scores);
  // Once over positions with one seed, once over seeds at one position.
  for (const bool over_seeds : {false, true}) {
    Counts counts{};
    for (int i = 0; i < 100'000; ++i) {
      const PositionNoise noise(over_seeds ? static_cast<std::uint64_t>(i) : 17,
                                over_seeds ? 17 : i);
      ++counts[static_cast<std::size_t>(choose_dense(ScoreRow(scores), 1.0F, &noise))];
    }
    ChiSquare chi2;
    chi2.add(counts, p);
    CAPTURE(over_seeds);
    CAPTURE(chi2.value);
    CHECK(chi2.degrees == kVocab - 1);
    CHECK(std::abs(chi2.z()) < 3.5);
  }
}

TEST_CASE("the test statistic finds a distribution that is off by little") {
  const std::vector<float> scores{0.0F, 1.0F, -1.0F, 2.0F, 0.5F, -3.0F, 1.5F, 0.1F};
  std::vector<float> other = scores;
  other[3] += 0.05F;
  Counts counts{};
  for (int i = 0; i < 100'000; ++i) {
    const PositionNoise noise(17, i);
    ++counts[static_cast<std::size_t>(choose_dense(ScoreRow(scores), 1.0F, &noise))];
  }
  ChiSquare chi2;
  chi2.add(counts, softmax(other));
  CHECK(chi2.z() > 3.5);
}

TEST_CASE("tokens of every mode follow the target's distribution in their context") {
  // With branches and rejections on the way: a draft that is right about every other time.
  Scenario scenario;
  scenario.target.n_vocab = kVocab;
  scenario.target.sharpness = 0.7;
  scenario.target.model_seed = 5;
  scenario.draft = scenario.target;
  scenario.draft.alignment = 0.55;
  scenario.request.prompt = {1, 2, 3};
  scenario.request.max_tokens = 5;
  scenario.request.max_draft = 3;
  scenario.request.max_branches = 4;
  scenario.request.policy.epsilon = 0.9;
  scenario.request.sampling.temperature = 0.8F;
  for (const Mode mode : kAllModes) {
    std::map<std::vector<Token>, Counts> contexts;
    std::int64_t n_hits = 0;
    std::int64_t n_misses = 0;
    for (std::uint64_t seed = 0; seed < 6'000; ++seed) {
      scenario.request.sampling.seed = seed;
      const VirtualResult result = run(scenario, mode);
      n_hits += result.counters.branch_hits;
      n_misses += result.counters.branch_misses;
      std::vector<Token> context = scenario.request.prompt;
      for (const Token token : result.tokens) {
        ++contexts[context][static_cast<std::size_t>(token)];
        context.push_back(token);
      }
    }
    ChiSquare chi2;
    for (const auto& [context, counts] : contexts) {
      std::int64_t n = 0;
      for (const std::int64_t count : counts) n += count;
      if (n < 150) continue;
      std::vector<float> scores = fake_scores(scenario.target, context, 1.0);
      for (float& score : scores) score /= scenario.request.sampling.temperature;
      chi2.add(counts, softmax(scores));
    }
    CAPTURE(std::string(to_string(mode)));
    CAPTURE(chi2.value);
    CAPTURE(chi2.degrees);
    CHECK(chi2.degrees > 100);
    CHECK(std::abs(chi2.z()) < 3.5);
    if (mode == Mode::kSpecBranch) {
      CHECK(n_hits > 3'000);
      CHECK(n_misses > 100);
    }
  }
}

TEST_CASE("branches hit more often with coupled noise than without") {
  // Is the target's token among the draft's best k? Means over random pairs at temperature 1.
  Random random(7);
  constexpr int kWords = 50;
  const int n = 4'000;
  std::array<int, 2> coupled{};
  std::array<int, 2> plain{};
  for (int i = 0; i < n; ++i) {
    std::vector<float> target;
    std::vector<Scored> draft;
    const PositionNoise own(random.next(), 0);
    for (Token token = 0; token < kWords; ++token) {
      const double score = 2.0 * PositionNoise(99, i).gumbel(token);
      target.push_back(static_cast<float>(score));
      draft.push_back({token, static_cast<float>(score + 0.7 * own.gumbel(token))});
    }
    const PositionNoise noise(random.next(), i);
    const Token wanted = choose_dense(ScoreRow(target), 1.0F, &noise);
    const auto is_among = [&](const std::vector<Candidate>& ranked) {
      for (const Candidate& candidate : ranked) {
        if (candidate.token == wanted) return 1;
      }
      return 0;
    };
    for (const std::size_t at : {0U, 1U}) {
      const int k = at == 0 ? 1 : 3;
      coupled[at] += is_among(rank(draft, &noise, k));
      plain[at] += is_among(rank(draft, nullptr, k));
    }
  }
  CAPTURE(coupled[0]);
  CAPTURE(plain[0]);
  CAPTURE(coupled[1]);
  CAPTURE(plain[1]);
  CHECK(coupled[0] > plain[0] + n / 20);
  CHECK(coupled[1] > plain[1] + n / 20);
  CHECK(coupled[1] > 9 * n / 10);
}
