// Busy and overlap times against counting every microsecond.
#include <array>
#include <set>
#include <vector>

#include "specbranch/core/stats.h"
#include "support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

struct Interval {
  Side side;
  std::int64_t begin_us;
  std::int64_t end_us;
};

/// Intervals of one side: in order, without overlap, some empty, some back to back.
std::vector<Interval> draw_side(Random& random, Side side) {
  std::vector<Interval> intervals;
  std::int64_t now = random.between(0, 30);
  const int n = random.between(0, 12);
  for (int i = 0; i < n; ++i) {
    const std::int64_t end = now + random.between(0, 25);
    intervals.push_back({side, now, end});
    now = end + random.pick({0, 0, 1, 7, 40});
  }
  return intervals;
}

}  // namespace

TEST_CASE("the meter counts what counting microseconds counts, in any order of the sides") {
  Random random(1);
  for (int i = 0; i < scaled(10'000); ++i) {
    const std::vector<Interval> target = draw_side(random, Side::kTarget);
    const std::vector<Interval> draft = draw_side(random, Side::kDraft);
    const std::int64_t start = random.between(0, 60);
    std::array<std::set<std::int64_t>, 2> busy;
    for (const auto* side : {&target, &draft}) {
      for (const Interval& interval : *side) {
        for (std::int64_t us = std::max(start, interval.begin_us); us < interval.end_us; ++us) {
          busy[interval.side == Side::kTarget ? 0 : 1].insert(us);
        }
      }
    }
    std::int64_t overlap = 0;
    for (const std::int64_t us : busy[0]) overlap += busy[1].contains(us) ? 1 : 0;

    BusyMeter meter;
    meter.start(start);
    std::size_t next[2] = {0, 0};
    while (next[0] < target.size() || next[1] < draft.size()) {
      const bool take_target =
          next[1] == draft.size() || (next[0] < target.size() && random.chance(0.5));
      const Interval& interval = take_target ? target[next[0]++] : draft[next[1]++];
      meter.add(interval.side, interval.begin_us, interval.end_us);
    }
    CAPTURE(i);
    CHECK(meter.target_us() == static_cast<std::int64_t>(busy[0].size()));
    CHECK(meter.draft_us() == static_cast<std::int64_t>(busy[1].size()));
    CHECK(meter.overlap_us() == overlap);
  }
}

TEST_CASE("nothing counts before the start") {
  BusyMeter meter;
  meter.add(Side::kDraft, 0, 100);
  meter.add(Side::kTarget, 0, 90);
  CHECK(meter.draft_us() == 0);
  CHECK(meter.target_us() == 0);
  meter.start(100);
  meter.add(Side::kDraft, 90, 130);
  meter.add(Side::kTarget, 100, 120);
  CHECK(meter.draft_us() == 30);
  CHECK(meter.target_us() == 20);
  CHECK(meter.overlap_us() == 20);
}
