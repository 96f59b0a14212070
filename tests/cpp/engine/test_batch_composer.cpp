// How much of each text's path a batch of several texts verifies.
#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "specbranch/engine/batch_composer.h"
#include "specbranch/engine/batch_parts.h"
#include "specbranch/planner/step_curve.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr int kMany = 96;

PairProfile with_curve(const std::function<double(int)>& us) {
  PairProfile profile;
  for (int n = 1; n <= StepCurve::kLongest; ++n) profile.costs.target_us.push_back(us(n));
  return profile;
}

std::vector<BatchOffer> offers_of(const std::vector<std::vector<double>>& chances) {
  std::vector<BatchOffer> offers;
  for (const auto& one : chances) offers.push_back({one, 0, static_cast<SeqId>(offers.size())});
  return offers;
}

/// Events for texts of a batch that took `us`, in which each of them chose `n_tokens`.
std::vector<Event> batch(int n_texts, int n_tokens, double us) {
  std::vector<Event> events;
  for (int i = 0; i < n_texts; ++i) {
    Event event;
    event.end_us = static_cast<std::int64_t>(us);
    SegmentResult result;
    result.verification.choices.resize(static_cast<std::size_t>(n_tokens));
    event.body = VerifyDone{{std::move(result)}};
    events.push_back(std::move(event));
  }
  return events;
}

double sum_of(const std::vector<double>& chances, int n) {
  return std::accumulate(chances.begin(), chances.begin() + n, 0.0);
}

}  // namespace

TEST_CASE("rows are free: every text gets its whole path") {
  const PairProfile profile = with_curve([](int) { return 1'000.0; });
  BatchComposer composer(&profile, kMany);
  const std::vector<std::vector<double>> chances{{0.9, 0.1}, {}, {0.2}};
  CHECK(composer.lengths(offers_of(chances), 0) == std::vector{2, 0, 1});
}

TEST_CASE("rows up to a length that is padded anyway are free") {
  PairProfile profile = with_curve([](int n) {
    return n == 2 ? 1'000.0 : n < 8 ? 5'000.0 : 1'200.0 + 1'000.0 * (n - 8);
  });
  const std::vector<std::vector<double>> chances{{0.9, 0.8, 0.7, 0.6}, {0.5, 0.4, 0.3, 0.2}};
  CHECK(BatchComposer(&profile, kMany).lengths(offers_of(chances), 0) == std::vector{4, 2});
  // Once the queue pads, five rows take as long as eight.
  profile.others.longest_padded = kMany;
  const std::vector<std::vector<double>> few{{0.9, 0.8}, {0.5}};
  CHECK(BatchComposer(&profile, kMany).lengths(offers_of(few), 0) == std::vector{2, 1});
  profile.others.longest_padded = 0;
  CHECK(BatchComposer(&profile, kMany).lengths(offers_of(few), 0) == std::vector{0, 0});
}

TEST_CASE("rows are dear: no drafted token is verified, but every text's last one") {
  const PairProfile profile = with_curve([](int n) { return 1'000.0 * n; });
  BatchComposer composer(&profile, kMany);
  const std::vector<std::vector<double>> chances{{0.9, 0.8}, {0.7}};
  CHECK(composer.lengths(offers_of(chances), 0) == std::vector{0, 0});
}

TEST_CASE("the best tokens of all texts are bought first, within the rows of a batch") {
  const PairProfile profile = with_curve([](int) { return 1'000.0; });
  const std::vector<std::vector<double>> chances{{0.9, 0.5, 0.4}, {0.8, 0.7, 0.6}, {0.3}};
  const auto bought = [&](int max_rows, int n_fixed = 0) {
    return BatchComposer(&profile, max_rows).lengths(offers_of(chances), n_fixed);
  };
  CHECK(bought(3) == std::vector{0, 0, 0});
  CHECK(bought(4) == std::vector{1, 0, 0});
  CHECK(bought(6) == std::vector{1, 2, 0});
  CHECK(bought(9) == std::vector{3, 3, 0});
  CHECK(bought(9, 2) == std::vector{1, 3, 0});
  CHECK(bought(2) == std::vector{0, 0, 0});  // no text waits
  std::vector<BatchOffer> replayed = offers_of(chances);
  replayed[2].n_replayed = 3;
  CHECK(BatchComposer(&profile, 7).lengths(replayed, 0) == std::vector{1, 0, 0});
}

TEST_CASE("of equal tokens the first text gets its one first") {
  const PairProfile profile = with_curve([](int) { return 1'000.0; });
  const std::vector<std::vector<double>> chances{{0.5, 0.5}, {0.5, 0.5}};
  BatchComposer composer(&profile, 5);
  CHECK(composer.lengths(offers_of(chances), 0) == std::vector{2, 1});
}

TEST_CASE("a cliff is climbed where the rows behind it pay for it together") {
  // Up to 8 rows for 1000, then 16 for 1500: one row more is too dear, eight are not.
  const PairProfile profile = with_curve([](int n) { return n <= 8 ? 1'000.0 : 1'500.0; });
  BatchComposer composer(&profile, kMany);
  const std::vector<std::vector<double>> few(4, std::vector<double>{0.9, 0.81});
  const std::vector<std::vector<double>> many(4, std::vector<double>{0.95, 0.9, 0.86, 0.81});
  CHECK(composer.lengths(offers_of(few), 0) == std::vector{1, 1, 1, 1});
  CHECK(composer.lengths(offers_of(many), 0) == std::vector{4, 4, 4, 4});
}

TEST_CASE("no other set of rows is worth more") {
  for (int i = 0; i < scaled(300); ++i) {
    Random random(static_cast<std::uint64_t>(i) + 1);
    std::vector<double> us;
    for (int n = 1; n <= 30; ++n) {
      us.push_back((us.empty() ? 500.0 : us.back()) + random.between(0, 200));
    }
    const PairProfile profile =
        with_curve([&](int n) { return us[static_cast<std::size_t>(std::min(n, 30) - 1)]; });
    std::vector<std::vector<double>> chances(static_cast<std::size_t>(random.between(2, 3)));
    for (auto& one : chances) {
      double chance = 1.0;
      for (int n = random.between(0, 3); n > 0; --n) {
        one.push_back(chance *= 0.01 * random.between(20, 99));
      }
    }
    const int n_fixed = random.between(0, 3);
    const int n_texts = static_cast<int>(chances.size());
    BatchComposer composer(&profile, kMany);
    // So often that what was promised counts little.
    const double rate = 1e-3 * random.between(1, 8);
    for (int k = 0; k < 2'000; ++k) composer.learn(batch(n_texts, 10, n_texts * 10 / rate));
    const double plain = (n_texts + n_fixed) / us[static_cast<std::size_t>(n_texts + n_fixed - 1)];
    const auto value = [&](const std::vector<int>& lengths) {
      double expected = n_texts + n_fixed;
      int n_rows = n_texts + n_fixed;
      for (std::size_t t = 0; t < chances.size(); ++t) {
        expected += sum_of(chances[t], lengths[t]);
        n_rows += lengths[t];
      }
      return expected - std::max(rate, plain) * us[static_cast<std::size_t>(n_rows - 1)];
    };
    const std::vector<int> found = composer.lengths(offers_of(chances), n_fixed);
    std::vector<int> lengths(chances.size(), 0);
    for (;;) {  // all lengths, as an odometer
      CAPTURE(i);
      REQUIRE(value(found) >= value(lengths) - 0.02);
      std::size_t t = 0;
      while (t < lengths.size() && ++lengths[t] > static_cast<int>(chances[t].size())) {
        lengths[t++] = 0;
      }
      if (t == lengths.size()) break;
    }
  }
}

TEST_CASE("where a batch is computed in parts, texts get as many rows") {
  // Reading the weights takes most of the time: a part for one row costs as much as one for all.
  const PairProfile profile = with_curve([](int n) { return 1'000.0 + 20.0 * n; });
  const std::vector<std::vector<double>> chances{{0.95, 0.9, 0.8}, {0.6, 0.5, 0.4}, {0.7, 0.6}};
  const std::vector<BatchOffer> offers = offers_of(chances);
  CHECK(BatchComposer(&profile, kMany).lengths(offers, 0) == std::vector{3, 3, 2});
  CHECK(BatchComposer(&profile, kMany, true).lengths(offers, 0) == std::vector{2, 2, 2});
  CHECK(BatchComposer(&profile, 8, true).lengths(offers, 0) == std::vector{1, 1, 1});
  // One text decodes its last tokens again, so the others get that much more.
  std::vector<BatchOffer> replayed = offers;
  replayed[0].n_replayed = 2;
  CHECK(BatchComposer(&profile, kMany, true).lengths(replayed, 0) == std::vector{0, 2, 2});
  // A text that offers nothing keeps nobody else from drafting where that pays.
  const std::vector<std::vector<double>> uneven{
      {}, {0.99, 0.98, 0.97, 0.96}, {0.99, 0.98, 0.97, 0.96}};
  CHECK(BatchComposer(&profile, kMany, true).lengths(offers_of(uneven), 0) == std::vector{0, 4, 4});
  // Rows that are in the batch already have one each.
  CHECK(BatchComposer(&profile, kMany, true).lengths(offers_of({{0.5}, {0.4}}), 2) ==
        std::vector{0, 0});
}

TEST_CASE("where gaps split a batch, a text without rows parts it") {
  for (const bool splits : {false, true}) {
    CHECK(batch_parts({{0, 5}, {1, 4}, {2, 4}}, splits) == std::vector{12, 1});
    CHECK(batch_parts({{0, 1}, {1, 4}, {2, 4}}, splits) == std::vector{3, 6});
    CHECK(batch_parts({{0, 2}, {5, 2}}, splits) == std::vector{4});  // as all of these texts
    CHECK(batch_parts({{3, 0}}, splits).empty());
  }
  CHECK(batch_parts({{2, 4}, {0, 4}, {1, 1}}, false) == std::vector{3, 6});
  CHECK(batch_parts({{2, 4}, {0, 4}, {1, 1}}, true) == std::vector{3, 3, 3});

  const PairProfile profile = with_curve([](int n) { return 1'000.0 + 20.0 * n; });
  const std::vector<std::vector<double>> chances{{}, {0.9, 0.8}, {0.9, 0.8}};
  std::vector<BatchOffer> offers = offers_of(chances);
  const auto bought = [&](bool splits) {
    return BatchComposer(&profile, kMany, true, splits).lengths(offers, 0);
  };
  CHECK(bought(false) == std::vector{0, 2, 2});
  CHECK(bought(true) == std::vector{0, 2, 2});
  std::swap(offers[0].seq, offers[1].seq);  // the text that drafts nothing is between the others
  CHECK(bought(false) == std::vector{0, 2, 2});
  CHECK(bought(true) == std::vector{0, 0, 0});
}

TEST_CASE("what other texts reached is forgotten") {
  const PairProfile profile = with_curve([](int n) { return 1'000.0 + 100.0 * n; });
  const std::vector<std::vector<double>> chances{{0.35, 0.3}, {0.35, 0.3}};
  const auto after = [&](int n_texts, int n_tokens) {
    BatchComposer composer(&profile, kMany);
    for (int k = 0; k < 200; ++k) composer.learn(batch(n_texts, n_tokens, 1'400.0));
    return composer.lengths(offers_of(chances), 0);
  };
  CHECK(after(2, 1) == std::vector{2, 2});
  CHECK(after(2, 4) == std::vector{0, 0});  // a microsecond is worth more
  CHECK(after(1, 8) == std::vector{2, 2});  // a text that was alone says nothing
  BatchComposer composer(&profile, kMany);
  for (int k = 0; k < 200; ++k) composer.learn(batch(4, 4, 1'400.0));
  composer.learn(batch(2, 1, 1'400.0));
  CHECK(composer.lengths(offers_of(chances), 0) == std::vector{2, 2});
}
