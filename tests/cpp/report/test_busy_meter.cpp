// Busy and overlap times against counting every microsecond.
#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "specbranch/report/stats.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A command and when the meter is told of its end.
struct Work {
  ModelRole role;
  std::int64_t sent_us;
  std::int64_t begin_us;
  std::int64_t end_us;
  std::int64_t told_us;
};

/// What the meter is told at one time.
struct Report {
  std::int64_t at_us;
  bool end;
  Work work;
};

/// One model's commands: in order, one at a time, some empty, some back to back, some told late.
std::vector<Work> draw_side(Random& random, ModelRole role, int n) {
  std::vector<Work> all;
  std::int64_t now = random.between(0, 30);
  for (int i = 0; i < n; ++i) {
    Work work{role, now, 0, 0, 0};
    work.begin_us = work.sent_us + random.pick({0, 0, 1, 5});
    work.end_us = work.begin_us + random.between(0, 25);
    work.told_us = work.end_us + random.pick({0, 0, 1, 10});
    now = work.told_us + random.pick({0, 0, 1, 7, 40});
    all.push_back(work);
  }
  return all;
}

/// Both models' reports in the order of time; at equal times in any.
std::vector<Report> draw_reports(Random& random, const std::vector<Work>& target,
                                 const std::vector<Work>& draft) {
  std::array<std::vector<Report>, 2> models;
  for (const auto* model : {&target, &draft}) {
    for (const Work& work : *model) {
      auto& reports = models[work.role == ModelRole::kTarget ? 0 : 1];
      reports.push_back({work.sent_us, false, work});
      reports.push_back({work.told_us, true, work});
    }
  }
  std::vector<Report> all;
  std::size_t next[2] = {0, 0};
  while (next[0] < models[0].size() || next[1] < models[1].size()) {
    std::size_t role = random.chance(0.5) ? 0 : 1;
    for (int i = 0; i < 2; ++i) {
      const std::size_t other = 1 - role;
      const bool later = next[role] == models[role].size() ||
                         (next[other] < models[other].size() &&
                          models[other][next[other]].at_us < models[role][next[role]].at_us);
      if (later) role = other;
    }
    all.push_back(models[role][next[role]++]);
  }
  return all;
}

void tell(BusyMeter& meter, const Report& report) {
  const Work& work = report.work;
  if (report.end) {
    meter.add(work.role, work.begin_us, work.end_us);
  } else {
    meter.sent(work.role, work.sent_us);
  }
}

void check_against_counting(const BusyMeter& meter, const std::vector<Report>& reports,
                            std::int64_t start) {
  std::array<std::set<std::int64_t>, 2> busy;
  for (const Report& report : reports) {
    if (!report.end) continue;
    const Work& work = report.work;
    for (std::int64_t us = std::max(start, work.begin_us); us < work.end_us; ++us) {
      busy[work.role == ModelRole::kTarget ? 0 : 1].insert(us);
    }
  }
  std::int64_t overlap = 0;
  for (const std::int64_t us : busy[0]) overlap += busy[1].contains(us) ? 1 : 0;
  CHECK(meter.target_us() == static_cast<std::int64_t>(busy[0].size()));
  CHECK(meter.draft_us() == static_cast<std::int64_t>(busy[1].size()));
  CHECK(meter.overlap_us() == overlap);
}

}  // namespace

TEST_CASE("the meter counts what counting microseconds counts") {
  Random random(1);
  for (int i = 0; i < scaled(10'000); ++i) {
    const std::vector<Work> target = draw_side(random, ModelRole::kTarget, random.between(0, 12));
    const std::vector<Work> draft = draw_side(random, ModelRole::kDraft, random.between(0, 12));
    const std::vector<Report> reports = draw_reports(random, target, draft);
    const std::int64_t start = random.between(0, 60);
    BusyMeter meter;
    meter.start(start);
    for (const Report& report : reports) tell(meter, report);
    CAPTURE(i);
    check_against_counting(meter, reports, start);
    CHECK(meter.n_kept() == 0);  // nothing is under way
  }
}

TEST_CASE("the start moves until both models have their prompts") {
  Random random(2);
  for (int i = 0; i < scaled(3'000); ++i) {
    const std::vector<Work> target = draw_side(random, ModelRole::kTarget, random.between(1, 8));
    const std::vector<Work> draft = draw_side(random, ModelRole::kDraft, random.between(1, 20));
    const std::vector<Report> reports = draw_reports(random, target, draft);
    BusyMeter meter;
    std::int64_t start = 0;
    bool second = false;
    for (const Report& report : reports) {
      const Work& first = report.work.role == ModelRole::kTarget ? target[0] : draft[0];
      // As the engine does it: a verification ends the prefill, whatever the draft still does.
      const bool prompt = report.end && report.work.sent_us == first.sent_us;
      if (prompt && !second) {
        start = std::max(start, report.work.end_us);
        meter.start(start);
      }
      second =
          second || (report.work.role == ModelRole::kTarget && report.work.sent_us > first.sent_us);
      tell(meter, report);
    }
    CAPTURE(i);
    check_against_counting(meter, reports, start);
  }
}

TEST_CASE("nothing counts before the start") {
  BusyMeter meter;
  meter.sent(ModelRole::kDraft, 0);
  meter.sent(ModelRole::kTarget, 0);
  meter.add(ModelRole::kDraft, 0, 100);
  meter.add(ModelRole::kTarget, 0, 90);
  CHECK(meter.draft_us() == 0);
  CHECK(meter.target_us() == 0);
  meter.start(100);
  meter.sent(ModelRole::kDraft, 90);
  meter.add(ModelRole::kDraft, 90, 130);
  CHECK(meter.draft_us() == 30);
}

TEST_CASE("a model that is alone leaves nothing behind") {
  for (const ModelRole role : {ModelRole::kTarget, ModelRole::kDraft}) {
    BusyMeter meter;
    meter.start(0);
    for (std::int64_t us = 0; us < 10'000; us += 10) {
      meter.sent(role, us);
      meter.add(role, us + 1, us + 9);
      CHECK(meter.n_kept() == 0);
    }
    CHECK(meter.target_us() + meter.draft_us() == 8'000);
  }
}

TEST_CASE("of a model that works in turns, what ended during the other's command is kept") {
  BusyMeter meter;
  meter.start(0);
  for (std::int64_t us = 0; us < 10'000; us += 100) {
    meter.sent(ModelRole::kTarget, us);
    for (std::int64_t i = 0; i < 4; ++i) {
      meter.sent(ModelRole::kDraft, us + 20 * i);
      meter.add(ModelRole::kDraft, us + 20 * i, us + 20 * i + 10);
      CHECK(meter.n_kept() <= 4);
    }
    meter.add(ModelRole::kTarget, us, us + 90);
    CHECK(meter.n_kept() == 0);
  }
  CHECK(meter.overlap_us() == 4'000);
}
