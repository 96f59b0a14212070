// What `execute` measures of a command.
#include "specbranch/engine/worker.h"

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "specbranch/base/errors.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr std::int64_t kNapUs = 2000;  ///< at least; a sleep may be longer, and is never shorter.

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(kNapUs)); }

class SlowTarget final : public TargetModel {
 public:
  Capabilities capabilities() const override { return {10, 64, 1, 16}; }
  int open(GenerationId /*id*/, const std::shared_ptr<const Request>& /*request*/,
           std::span<const SeqId> /*seqs*/) override {
    return 0;
  }
  void prefill(GenerationId /*id*/, Pos /*begin*/, Pos /*end*/) override {}
  void close(GenerationId /*id*/, bool /*forget*/) override {}
  Pos length(SeqId /*seq*/) const override { return 0; }
  void truncate(const Truncate& /*op*/) override { nap(); }
  void fork(const Fork& /*op*/) override { nap(); }
  std::vector<SegmentResult> verify(std::span<const Segment> /*segments*/, int /*n_pad*/) override {
    nap();
    return {};
  }
};

class SlowDraft final : public DraftModel {
 public:
  Capabilities capabilities() const override { return {10, 64, 3, 16}; }
  int open(GenerationId id, const std::shared_ptr<const Request>& /*request*/,
           std::span<const SeqId> seqs) override {
    opened = id;
    return static_cast<int>(seqs.size());
  }
  void prefill(GenerationId id, Pos begin, Pos end) override {
    if (id != opened || begin != 3) throw PreconditionError("no such chunk");
    n_read = end;
  }
  void close(GenerationId id, bool forget) override {
    if (id == opened && forget) opened = 0;
  }
  Pos length(SeqId seq) const override { return 10 * seq; }
  void truncate(const Truncate& /*op*/) override { nap(); }
  void fork(const Fork& /*op*/) override { nap(); }
  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> /*inputs*/,
                                            std::span<const RankOptions> /*ranks*/) override {
    nap();
    return {};
  }

  GenerationId opened = 0;
  Pos n_read = 0;
};

}  // namespace

TEST_CASE("KV operations are timed apart from the pass") {
  SlowDraft draft;
  SlowTarget target;
  DraftCommand with_ops;
  with_ops.ops = {Fork{}, Truncate{}};
  Event event = execute(draft, Command{1, with_ops});
  CHECK(event.ops_us >= 2 * kNapUs);
  CHECK(event.end_us - event.begin_us - event.ops_us >= kNapUs);
  event = execute(draft, Command{1, DraftCommand{}});
  CHECK(event.ops_us <= event.end_us - event.begin_us - kNapUs);

  VerifyCommand cut;
  cut.ops = {Truncate{}};
  event = execute(target, Command{1, cut});
  CHECK(event.ops_us >= kNapUs);
  CHECK(event.end_us - event.begin_us - event.ops_us >= kNapUs);
}

TEST_CASE("a session: opened, read, closed") {
  SlowDraft draft;
  const auto request = std::make_shared<const Request>();
  Event event = execute(draft, Command{9, OpenCommand{request, {2, 0}}});
  const auto* open = std::get_if<OpenDone>(&event.body);
  REQUIRE(open != nullptr);
  CHECK(event.generation_id == 9);
  CHECK(draft.opened == 9);
  CHECK(open->n_reused == 2);
  CHECK(open->lengths == std::vector<Pos>{20, 0});  // in the order of the command
  event = execute(draft, Command{9, PrefillCommand{3, 8}});
  const auto* prefill = std::get_if<PrefillDone>(&event.body);
  REQUIRE(prefill != nullptr);
  CHECK(prefill->length == 8);
  CHECK(draft.n_read == 8);
  CHECK(std::holds_alternative<FailDone>(execute(draft, Command{8, PrefillCommand{3, 8}}).body));
  event = execute(draft, Command{9, CloseCommand{true}});
  CHECK(std::holds_alternative<CloseDone>(event.body));
  CHECK(draft.opened == 0);
}
