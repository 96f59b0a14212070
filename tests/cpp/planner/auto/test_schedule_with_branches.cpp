// The schedule is chosen as if verifications were paths. What that loses where they have branches.
//
// All figures: SPECBRANCH_PRINT=1 specbranch_core_tests -tc="*schedule*branches*"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <variant>

#include "specbranch/simulation/synthetic_pair.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr double kStepUs = 20'000;

/// A machine and a pair.
struct Cell {
  double row = 0.0;    ///< a row after the first one costs so much of a step.
  double ratio = 4.0;  ///< target step / draft step.
  double alpha = 0.3;
};

double target_us(const Cell& cell, int n) { return kStepUs * (1.0 + cell.row * (n - 1)); }
double draft_us(const Cell& cell, int n) { return kStepUs / cell.ratio * (1.0 + 0.01 * (n - 1)); }

/// Virtual time of some texts. `eager`: speculates whatever is expected.
double time_of(const Cell& cell, int n_branches, bool eager) {
  double time_us = 0.0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SyntheticOptions pair = synthetic_pair(cell.alpha, seed);
    pair.n_branches = n_branches;
    const auto target = make_synthetic_target(pair);
    const auto draft = make_synthetic_draft(pair);
    const Request request = auto_request(1000, 16);
    PairProfile profile;
    for (int n = 1; n <= 33; ++n) {
      profile.costs.target_us.push_back(target_us(cell, n));
      profile.costs.draft_us.push_back(draft_us(cell, n));
    }
    VirtualOptions options;
    options.profile = &profile;
    options.target_us = [&](const Command& command) -> std::int64_t {
      const auto* verify = std::get_if<VerifyCommand>(&command.body);
      return verify == nullptr ? 0 : std::llround(target_us(cell, verify->n_tokens()));
    };
    options.draft_us = [&](const Command& command) -> std::int64_t {
      const auto* pass = std::get_if<DraftCommand>(&command.body);
      return pass == nullptr ? 0 : std::llround(draft_us(cell, pass->n_tokens()));
    };
    const VirtualResult got = run_virtually(request, *target, draft.get(), options,
                                            eager ? make_eager_auto(request, &profile) : nullptr);
    CHECK(message_of(got.error) == "");
    time_us += static_cast<double>(got.time_us);
  }
  return time_us;
}

/// How many times as fast the better one of "always" and "never" would be as the choice is.
double lost(const Cell& cell, int n_branches) {
  const double never = 3 * 1000 * target_us(cell, 1);
  const double best = std::min(never, time_of(cell, n_branches, true));
  return time_of(cell, n_branches, false) / best;
}

/// The loss with branches over that without.
double lost_by_branches(const Cell& cell) {
  const double path = lost(cell, 0);
  const double tree = lost(cell, 4);
  if (std::getenv("SPECBRANCH_PRINT") != nullptr) {  // NOLINT(concurrency-mt-unsafe)
    std::printf("row %.3f c %4.1f alpha %.1f: lost %.3f by paths, %.3f with branches\n", cell.row,
                cell.ratio, cell.alpha, path, tree);
  }
  return tree / path;
}

}  // namespace

TEST_CASE("the choice of a schedule loses little by its ignorance of branches") {
  Sweep sweep;
  for (const double row : {0.0, 0.045}) {  // that cost nothing, and as on a GPU
    for (const double ratio : {2.0, 4.0, 8.0}) {
      if (sweep.skips()) continue;
      CAPTURE(row);
      CAPTURE(ratio);
      const double alpha = ratio == 2.0 || (row == 0.0 && ratio == 4.0) ? 0.3 : 0.2;
      // The most, where rows cost nothing and the draft takes half of a step.
      CHECK(lost_by_branches({row, ratio, alpha}) < (row == 0.0 && ratio == 2.0 ? 1.06 : 1.03));
    }
  }
}
