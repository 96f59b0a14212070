// What the draft model and a text say together.
#include "specbranch/planner/auto/source_agreement.h"

#include <algorithm>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("source agreement: at first, two sources are surer than one, and rivals share") {
  LookupTable table;
  const SourceAgreement agreement(&table);
  for (const double draft : {0.0, 0.2, 0.5, 0.9, 1.0}) {
    for (const double text : {0.0, 0.3, 0.6, 0.95, 1.0}) {
      CAPTURE(draft);
      CAPTURE(text);
      const double both = agreement.together(draft, text);
      CHECK(both >= std::min(0.995, std::max(draft, text)) - 1e-12);
      CHECK(both < 1.0);
      const Rivals rivals = agreement.apart(draft, text);
      CHECK(rivals.draft >= 0.0);
      CHECK(rivals.text >= 0.0);
      CHECK(rivals.draft + rivals.text <= 1.0 + 1e-12);
      if (draft < 1.0 && text < 1.0) {
        CHECK(rivals.draft <= draft + 1e-12);
        CHECK(rivals.text <= text + 1e-12);
        CHECK((rivals.draft > rivals.text) == (draft > text));
      }
    }
  }
  CHECK(agreement.together(0.5, 0.6) == doctest::Approx(0.8));
  CHECK(agreement.apart(0.5, 0.5).draft == doctest::Approx(1.0 / 3.0));
}

TEST_CASE("source agreement: the shares of what was right are learned") {
  for (const double truth : {0.3, 0.8}) {
    LookupTable table;
    SourceAgreement agreement(&table);
    Random random(5);
    for (int i = 0; i < 3000; ++i) {
      agreement.observe_together(0.6, 0.5, random.chance(truth));
      const bool draft_right = random.chance(0.2);
      agreement.observe_apart(0.6, 0.5, draft_right, !draft_right && random.chance(0.5));
    }
    // A floor: a token that both propose is never less probable than the weaker source says.
    CHECK(agreement.together(0.6, 0.5) == doctest::Approx(std::max(0.5, truth)).epsilon(0.15));
    const Rivals rivals = agreement.apart(0.6, 0.5);
    CHECK(rivals.draft == doctest::Approx(0.2).epsilon(0.35));
    CHECK(rivals.text == doctest::Approx(0.4).epsilon(0.25));
  }
}
