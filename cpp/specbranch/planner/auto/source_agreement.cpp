#include "specbranch/planner/auto/source_agreement.h"

#include <algorithm>

namespace specbranch {
namespace {

constexpr double kAgreementDecay = 0.98;
constexpr double kAgreementPriorWeight = 1.0;  ///< expected hits, or expected errors.
constexpr double kAgreedAtMost = 0.995;

double expected_error(double draft, double text) { return (1.0 - draft) * (1.0 - text); }

/// Without what was learned.
Rivals rivals_of(double draft, double text) {
  const double d = draft * (1.0 - text);
  const double t = text * (1.0 - draft);
  const double sum = d + t + expected_error(draft, text);
  return sum > 0.0 ? Rivals{d / sum, t / sum} : Rivals{0.5, 0.5};
}

double factor(const RatioCount& count) {
  return (count.found + kAgreementPriorWeight) / (count.expected + kAgreementPriorWeight);
}

void add(RatioCount& count, bool found, double expected) {
  count.found = kAgreementDecay * count.found + (found ? 1.0 : 0.0);
  count.expected = kAgreementDecay * count.expected + expected;
}

}  // namespace

double SourceAgreement::together(double draft, double text) const {
  const double error = expected_error(draft, text) * factor(table_->agreed_errors);
  return std::clamp(1.0 - error, std::min(draft, text), kAgreedAtMost);
}

Rivals SourceAgreement::apart(double draft, double text) const {
  Rivals found = rivals_of(draft, text);
  found.draft *= factor(table_->rival_draft_hits);
  found.text *= factor(table_->rival_text_hits);
  const double sum = std::max(1.0, found.draft + found.text);
  return {found.draft / sum, found.text / sum};
}

void SourceAgreement::observe_together(double draft, double text, bool right) {
  add(table_->agreed_errors, !right, expected_error(draft, text));
}

void SourceAgreement::observe_apart(double draft, double text, bool draft_right, bool text_right) {
  const Rivals found = rivals_of(draft, text);
  add(table_->rival_draft_hits, draft_right, found.draft);
  add(table_->rival_text_hits, text_right, found.text);
}

}  // namespace specbranch
