#include "specbranch/engine/batch_composer.h"

#include <algorithm>
#include <cstddef>
#include <queue>
#include <utility>

#include "specbranch/planner/step_curve.h"

namespace specbranch {

BatchComposer::BatchComposer(const PairProfile* profile, int max_rows)
    : profile_(profile), max_rows_(std::min(max_rows, StepCurve::kLongest)) {}

std::vector<int> BatchComposer::lengths(std::span<const BatchOffer> offers, int n_fixed) {
  std::vector<int> taken(offers.size(), 0);
  int n_rows = n_fixed;
  for (const BatchOffer& offer : offers) n_rows += 1 + offer.n_replayed;
  const std::vector<double> us = StepCurve::filled(profile_->costs.target_us);
  const auto time = [&us](int n) {
    return us[static_cast<std::size_t>(std::clamp(n, 1, StepCurve::kLongest) - 1)];
  };

  // All rows in the order in which they are bought. Of equal ones that of the first offer, so that
  // the order is the same everywhere.
  using Next = std::pair<double, int>;  // the chance of an offer's next token; minus its index
  std::priority_queue<Next> queue;
  const auto push = [&](std::size_t i, std::size_t n) {
    if (n < offers[i].chances.size()) queue.emplace(offers[i].chances[n], -static_cast<int>(i));
  };
  for (std::size_t i = 0; i < offers.size(); ++i) push(i, 0);
  std::vector<std::size_t> bought;
  std::vector<double> expected{static_cast<double>(n_fixed) + static_cast<double>(offers.size())};
  std::vector<std::size_t> counts(offers.size(), 0);
  while (!queue.empty() && n_rows + static_cast<int>(bought.size()) < max_rows_) {
    const auto [chance, minus] = queue.top();
    queue.pop();
    const auto i = static_cast<std::size_t>(-minus);
    bought.push_back(i);
    expected.push_back(expected.back() + chance);
    push(i, ++counts[i]);
  }

  const auto rate_of = [&](std::size_t n) {
    return expected[n] / time(n_rows + static_cast<int>(n));
  };
  double best_rate = 0.0;
  for (std::size_t n = 0; n < expected.size(); ++n) best_rate = std::max(best_rate, rate_of(n));
  // Less than what single tokens of all of them reach is no rate to go by.
  const double rate = std::max(rate_of(0), meter_.rate(best_rate));
  std::size_t best = 0;
  double most = 0.0;
  for (std::size_t n = 0; n < expected.size(); ++n) {
    const double value = expected[n] - rate * time(n_rows + static_cast<int>(n));
    if (n > 0 && value <= most) continue;
    best = n;
    most = value;
  }
  for (std::size_t n = 0; n < best; ++n) ++taken[bought[n]];
  return taken;
}

void BatchComposer::learn(std::span<const Event> events) {
  int n_texts = 0;
  int n_tokens = 0;
  for (const Event& event : events) {
    const auto* done = std::get_if<VerifyDone>(&event.body);
    if (done == nullptr) return;
    for (const SegmentResult& result : done->results) {
      ++n_texts;
      n_tokens += static_cast<int>(result.verification.choices.size());
    }
  }
  if (n_texts < 2) return;
  if (n_texts != n_texts_) meter_.reset();  // others reach another rate
  n_texts_ = n_texts;
  const auto us = static_cast<double>(events.front().end_us - events.front().begin_us);
  meter_.add(n_tokens, us, us);
}

}  // namespace specbranch
