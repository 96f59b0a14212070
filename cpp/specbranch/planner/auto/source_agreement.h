/// What the draft model and a text say together: learned online.
#pragma once

#include "specbranch/report/profile.h"

namespace specbranch {

/// Probabilities of two different next tokens: at most one of them is right.
struct Rivals {
  double draft = 0.0;
  double text = 0.0;
};

/// Each source has a calibrated probability of its own. Where both propose the same token it is
/// wrong only if both are: `1 - (1 - draft) * (1 - text) * k`. Where they propose different tokens,
/// `draft' = draft * (1 - text) * k / sum` over the three cases that remain, and likewise the text.
/// The factors `k` are what was counted divided by what was expected; they begin at 1.
class SourceAgreement {
 public:
  /// `table` outlives this and is kept up to date.
  explicit SourceAgreement(LookupTable* table) : table_(table) {}

  /// The probability of a token that both propose, each with its own.
  double together(double draft, double text) const;

  /// The probabilities of two tokens, one of each source.
  Rivals apart(double draft, double text) const;

  /// Both had proposed the same token, which was `right` or not.
  void observe_together(double draft, double text, bool right);

  /// They had proposed different tokens; at most one was right.
  void observe_apart(double draft, double text, bool draft_right, bool text_right);

 private:
  LookupTable* table_;
};

}  // namespace specbranch
