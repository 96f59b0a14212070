#include "specbranch/engine/batch_composer.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <queue>
#include <utility>

#include "specbranch/engine/batch_parts.h"
#include "specbranch/planner/padding.h"
#include "specbranch/planner/step_curve.h"

namespace specbranch {

namespace {

int n_least_rows(std::span<const BatchOffer> offers, int n_fixed) {
  int n_rows = n_fixed;
  for (const BatchOffer& offer : offers) n_rows += 1 + offer.n_replayed;
  return n_rows;
}

}  // namespace

BatchComposer::BatchComposer(const PairProfile* profile, int max_rows, bool in_parts,
                             bool splits_at_gaps)
    : profile_(profile),
      max_rows_(std::min(max_rows, StepCurve::kLongest)),
      in_parts_(in_parts),
      splits_at_gaps_(splits_at_gaps) {}

std::vector<int> BatchComposer::lengths(std::span<const BatchOffer> offers, int n_fixed) {
  std::vector<Choice> choices = best_first(offers, n_fixed);
  if (in_parts_) add_equal(offers, n_fixed, choices);
  const std::vector<double> us = padded_times(offers.size() + (n_fixed > 0 ? 1 : 0) > 1);
  std::vector<double> times;
  times.reserve(choices.size());
  for (const Choice& choice : choices) times.push_back(time_of(offers, n_fixed, choice, us));
  double best_rate = 0.0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    best_rate = std::max(best_rate, choices[i].expected / times[i]);
  }
  // Less than what single tokens of all of them reach is no rate to go by.
  const double rate = std::max(choices[0].expected / times[0], meter_.rate(best_rate));
  std::size_t best = 0;
  double most = 0.0;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const double value = choices[i].expected - rate * times[i];
    if (i > 0 && value <= most) continue;
    best = i;
    most = value;
  }
  return std::move(choices[best].taken);
}

/// Microseconds of batches by their rows. The queue pads those of several texts.
std::vector<double> BatchComposer::padded_times(bool of_several) const {
  const std::vector<double>& measured = profile_->costs.target_us;
  std::vector<double> us = StepCurve::filled(measured);
  if (!of_several) return us;
  for (int n = 1; n <= StepCurve::kLongest; ++n) {
    const int n_all = n + batch_padding(n, measured, profile_->others.longest_padded);
    us[static_cast<std::size_t>(n) - 1] =
        us[static_cast<std::size_t>(std::min(n_all, StepCurve::kLongest)) - 1];
  }
  return us;
}

/// No drafted token, then always one more: the most probable one of all texts. Of equal ones that
/// of the first offer, so that the order is the same everywhere.
std::vector<BatchComposer::Choice> BatchComposer::best_first(std::span<const BatchOffer> offers,
                                                             int n_fixed) const {
  using Next = std::pair<double, int>;  // the chance of an offer's next token; minus its index
  std::priority_queue<Next> queue;
  const auto push = [&](std::size_t i, int n) {
    const auto& chances = offers[i].chances;
    if (static_cast<std::size_t>(n) >= chances.size()) return;
    queue.emplace(chances[static_cast<std::size_t>(n)], -static_cast<int>(i));
  };
  for (std::size_t i = 0; i < offers.size(); ++i) push(i, 0);
  std::vector<Choice> choices{{std::vector<int>(offers.size(), 0),
                               static_cast<double>(n_fixed) + static_cast<double>(offers.size())}};
  for (int n_rows = n_least_rows(offers, n_fixed); !queue.empty() && n_rows < max_rows_; ++n_rows) {
    const auto [chance, minus] = queue.top();
    queue.pop();
    const auto i = static_cast<std::size_t>(-minus);
    Choice next = choices.back();
    next.expected += chance;
    push(i, ++next.taken[i]);
    choices.push_back(std::move(next));
  }
  return choices;
}

/// For every number of rows: all texts have as many, as far as they offer them.
void BatchComposer::add_equal(std::span<const BatchOffer> offers, int n_fixed,
                              std::vector<Choice>& choices) const {
  const int n_free = max_rows_ - n_least_rows(offers, n_fixed);
  for (int n_rows = 2;; ++n_rows) {
    Choice choice = choices.front();
    int n_taken = 0;
    bool is_longest = true;
    for (std::size_t i = 0; i < offers.size(); ++i) {
      const std::span<const double> chances = offers[i].chances;
      const auto most = static_cast<int>(chances.size());
      const int n = std::clamp(n_rows - 1 - offers[i].n_replayed, 0, most);
      is_longest = is_longest && n == most;
      choice.taken[i] = n;
      choice.expected += std::accumulate(chances.begin(), chances.begin() + n, 0.0);
      n_taken += n;
    }
    if (n_taken > n_free) return;
    choices.push_back(std::move(choice));
    if (is_longest) return;
  }
}

/// Microseconds of a batch. The rows that are in it already are taken for one of each of other
/// texts, whose sequences follow those of the offers.
double BatchComposer::time_of(std::span<const BatchOffer> offers, int n_fixed, const Choice& choice,
                              std::span<const double> us) const {
  const auto time = [&us](int n) {
    return us[static_cast<std::size_t>(std::clamp(n, 1, StepCurve::kLongest) - 1)];
  };
  const int n_least = n_least_rows(offers, n_fixed);
  if (!in_parts_) return time(std::accumulate(choice.taken.begin(), choice.taken.end(), n_least));
  std::vector<SequenceRows> rows;
  SeqId last = -1;
  for (std::size_t i = 0; i < offers.size(); ++i) {
    rows.push_back({offers[i].seq, 1 + offers[i].n_replayed + choice.taken[i]});
    last = std::max(last, offers[i].seq);
  }
  for (int i = 0; i < n_fixed; ++i) rows.push_back({++last, 1});
  double sum = 0.0;
  for (const int n : batch_parts(std::move(rows), splits_at_gaps_)) sum += time(n);
  return sum;
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
