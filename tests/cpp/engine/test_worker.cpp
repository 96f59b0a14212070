// What `execute` measures of a command.
#include "specbranch/engine/worker.h"

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr std::int64_t kNapUs = 2000;  ///< at least; a sleep may be longer, and is never shorter.

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(kNapUs)); }

class SlowTarget final : public TargetModel {
 public:
  Capabilities capabilities() const override { return {10, 64, 1, 16}; }
  int begin(const Request& /*request*/) override { return 0; }
  Pos length(SeqId /*seq*/) const override { return 0; }
  void truncate(const Truncate& /*op*/) override { nap(); }
  using TargetModel::verify;
  Verification verify(Pos /*pos*/, std::span<const Token> /*path*/, int /*n_pad*/) override {
    nap();
    return {};
  }
};

class SlowDraft final : public DraftModel {
 public:
  Capabilities capabilities() const override { return {10, 64, 3, 16}; }
  int begin(const Request& /*request*/) override { return 7; }
  Pos length(SeqId seq) const override { return 10 * seq; }
  void truncate(const Truncate& /*op*/) override { nap(); }
  void fork(const Fork& /*op*/) override { nap(); }
  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> /*inputs*/,
                                            int /*k*/) override {
    nap();
    return {};
  }
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
  cut.truncate = Truncate{};
  event = execute(target, Command{1, cut});
  CHECK(event.ops_us >= kNapUs);
  CHECK(event.end_us - event.begin_us - event.ops_us >= kNapUs);
}

TEST_CASE("a begin tells what every sequence holds") {
  SlowDraft draft;
  const auto request = std::make_shared<const Request>();
  const Event event = execute(draft, Command{1, BeginCommand{request}});
  REQUIRE(std::holds_alternative<BeginDone>(event.body));
  const auto& begin = std::get<BeginDone>(event.body);
  CHECK(begin.n_reused == 7);
  CHECK(begin.lengths == std::vector<Pos>{0, 10, 20});
}
