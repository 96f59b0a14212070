/// How probably a text goes on as it did before: learned online.
#pragma once

#include <cstdint>

#include "specbranch/report/profile.h"

namespace specbranch {

/// Where a proposal comes from. The kinds are learned apart.
enum class LookupKind : std::uint8_t {
  kMatch,       ///< where the end of the text occurs earlier.
  kCopy,        ///< where the text is being copied from, also past a changed token.
  kPrediction,  ///< the same in the predicted output.
  kPool,        ///< in another text.
};
inline constexpr int kLookupKinds = 4;

/// What tells good proposals from bad ones.
struct LookupClass {
  LookupKind kind = LookupKind::kMatch;
  int length = 0;       ///< tokens before it that match.
  bool unique = false;  ///< nothing else has ever followed them; of a copy: nothing was changed.
  bool right = false;   ///< the last proposal of this kind was right.
};

/// The probability of a class is the share of its proposals that the target chose.
class LookupAcceptance {
 public:
  /// `table` outlives this and is kept up to date.
  explicit LookupAcceptance(LookupTable* table) : table_(table) {}

  /// A new text may be of another kind: what was learned counts little from now on.
  void begin_text();

  double probability(const LookupClass& one) const;
  void observe(const LookupClass& one, bool hit);

 private:
  LookupTable* table_;
};

}  // namespace specbranch
