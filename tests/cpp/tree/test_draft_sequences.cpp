// What the draft's sequences hold, command by command. A wrong cell there only costs speed, so the
// text does not show it: here every sequence is compared with the path of its node.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/engine/worker.h"
#include "support/chaos_planner.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Tokens = std::vector<Token>;

/// Drives a decoder by hand, so that a test can read the tree when a command is sent.
class AuditedRun {
 public:
  AuditedRun(const Scenario& scenario, Mode mode, std::unique_ptr<Planner> planner)
      : random_(scenario.seed),
        request_(std::make_shared<Request>(scenario.request)),
        target_(make_fake_target(scenario.target)),
        draft_(make_fake_draft(scenario.draft)),
        text_(request_->prompt),
        cells_(static_cast<std::size_t>(scenario.draft.n_seq)) {
    request_->mode = mode;
    if (!planner) planner = make_planner(*request_);
    const ModelLimits limits{target_->capabilities(), draft_->capabilities()};
    decoder_ = std::make_unique<Decoder>(request_, limits, 1, std::move(planner),
                                         [this](const Committed& committed) {
                                           text_.push_back(committed.choice.token);
                                           return false;
                                         });
  }

  void run() {
    take(decoder_->start());
    while (!decoder_->idle()) {
      const bool target = !pending_draft_ || (pending_target_ && random_.chance(0.5));
      Event event;
      if (target) {
        event = execute(*target_, *std::exchange(pending_target_, std::nullopt));
      } else {
        event = execute(*draft_, *std::exchange(pending_draft_, std::nullopt));
      }
      take(decoder_->on(event));
    }
    CHECK(message_of(decoder_->error()) == "");
  }

  int n_inputs() const { return n_inputs_; }
  int n_forks() const { return n_forks_; }

 private:
  void take(Commands commands) {
    if (commands.target) {
      if (const auto* verify = std::get_if<VerifyCommand>(&commands.target->body)) audit(*verify);
      pending_target_ = std::move(commands.target);
    }
    if (commands.draft) {
      if (std::holds_alternative<BeginCommand>(commands.draft->body)) {
        cells_[0].assign(request_->prompt.begin(), request_->prompt.end() - 1);
      } else {
        audit(std::get<DraftCommand>(commands.draft->body));
      }
      pending_draft_ = std::move(commands.draft);
    }
  }

  void audit(const VerifyCommand& verify) {
    // Before it, the target holds the text without its last token, once it is cut.
    const Pos held = target_->length(0);
    CHECK(verify.pos == static_cast<Pos>(text_.size()) - 1);
    CHECK(verify.path.front() == text_.back());
    CHECK(verify.truncate.has_value() == (held > verify.pos));
    // All of it can be committed, with one more token of the target's own.
    const Capabilities target = target_->capabilities();
    auto limit = static_cast<std::size_t>(target.n_ctx);
    if (request_->max_tokens >= 0) {
      limit =
          std::min(limit, request_->prompt.size() + static_cast<std::size_t>(request_->max_tokens));
    }
    CHECK(text_.size() + verify.path.size() <= limit);
    CHECK(static_cast<int>(verify.path.size()) <= target.max_batch);
    if (verify.truncate) {
      CHECK(verify.truncate->expected == held);
      CHECK(verify.truncate->length == verify.pos);
    }
  }

  void audit(const DraftCommand& command) {
    // One call a sequence at most: a constant number, whatever the context holds.
    CHECK(command.ops.size() <= command.inputs.size());
    for (const KvOp& op : command.ops) {
      if (const auto* fork = std::get_if<Fork>(&op)) {
        apply(*fork);
      } else {
        const auto& cut = std::get<Truncate>(op);
        Tokens& seq = cells_[static_cast<std::size_t>(cut.seq)];
        CHECK(cut.expected == static_cast<Pos>(seq.size()));
        REQUIRE(cut.length <= cut.expected);
        seq.resize(static_cast<std::size_t>(cut.length));
      }
    }
    for (const SequenceInput& input : command.inputs) {
      Tokens& seq = cells_[static_cast<std::size_t>(input.seq)];
      CHECK(input.pos == static_cast<Pos>(seq.size()));
      seq.insert(seq.end(), input.tokens.begin(), input.tokens.end());
      const Capabilities draft = draft_->capabilities();
      for (const Token token : input.tokens) CHECK(token < draft.n_vocab);
      CHECK(static_cast<Pos>(seq.size()) <= draft.n_ctx);
    }
    // Now every sequence's sequence holds the path of its node, and so does every other live
    // node's.
    for (const SequenceInput& input : command.inputs) {
      // Without a barrier the verification that came with this command may have dropped the node.
      if (!decoder_->tree().contains(input.node)) continue;
      CHECK(cells_[static_cast<std::size_t>(input.seq)] == path_of(input.node));
      ++n_inputs_;
    }
    for (const auto& [id, node] : decoder_->tree().nodes()) {
      if (node.seq == kNoSeq) continue;
      const Tokens path = path_of(id);
      CHECK(is_prefix(path, cells_[static_cast<std::size_t>(node.seq)]));
    }
  }

  void apply(const Fork& fork) {
    ++n_forks_;
    Tokens& to = cells_[static_cast<std::size_t>(fork.to)];
    const Tokens& from = cells_[static_cast<std::size_t>(fork.from)];
    const auto common =
        std::mismatch(to.begin(), to.end(), from.begin(), from.end()).first - to.begin();
    CHECK(fork.to_length == static_cast<Pos>(to.size()));
    REQUIRE(fork.length <= static_cast<Pos>(from.size()));
    // No more than the longest common prefix stays, and no less: the rest is a copy.
    CHECK(fork.shared == std::min(static_cast<Pos>(common), fork.length));
    to = Tokens(from.begin(), from.begin() + fork.length);
  }

  /// The text up to the root, then the path from there to `id`.
  Tokens path_of(NodeId id) const {
    const SpeculationTree& tree = decoder_->tree();
    const auto n_before = static_cast<std::ptrdiff_t>(tree.at(tree.root()).pos);
    Tokens path(text_.begin(), text_.begin() + n_before);
    const Tokens rest = tree.path(id);
    path.insert(path.end(), rest.begin(), rest.end());
    return path;
  }

  Random random_;
  std::shared_ptr<Request> request_;
  std::unique_ptr<TargetModel> target_;
  std::unique_ptr<DraftModel> draft_;
  Tokens text_;
  std::vector<Tokens> cells_;
  std::unique_ptr<Decoder> decoder_;
  std::optional<Command> pending_target_;
  std::optional<Command> pending_draft_;
  int n_inputs_ = 0;
  int n_forks_ = 0;
};

}  // namespace

TEST_CASE("every sequence of every mode continues just the path of its node") {
  const int n = scaled(500);
  int n_forks = 0;
  int n_inputs = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 60'000);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      AuditedRun audited(scenario, mode, nullptr);
      audited.run();
      if (mode == Mode::kSpeculative || mode == Mode::kPearl) CHECK(audited.n_forks() == 0);
      n_forks += audited.n_forks();
      n_inputs += audited.n_inputs();
    }
  }
  CHECK(n_forks > n);
  CHECK(n_inputs > 5 * n);
}

TEST_CASE("so does every sequence of `auto` where all it does pays") {
  const int n = scaled(1'000);
  int n_forks = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 80'000);
    scenario.draft.n_seq = 1 + i % 5;
    INFO(describe(scenario));
    PairProfile profile = flat_profile();
    AuditedRun audited(scenario, Mode::kAuto, make_eager_auto(scenario.request, &profile));
    audited.run();
    if (scenario.draft.n_seq == 1) CHECK(audited.n_forks() == 0);
    n_forks += audited.n_forks();
  }
  CHECK(n_forks > n);
}

TEST_CASE("so does every sequence of a planner without any order") {
  const int n = scaled(1'000);
  int n_forks = 0;
  int n_inputs = 0;
  for (int i = 0; i < n; ++i) {
    const Scenario scenario = make_scenario(static_cast<std::uint64_t>(i) + 70'000);
    INFO(describe(scenario));
    AuditedRun audited(scenario, Mode::kSpecBranch, make_chaos(scenario.seed));
    audited.run();
    n_forks += audited.n_forks();
    n_inputs += audited.n_inputs();
  }
  CHECK(n_forks > n);
  CHECK(n_inputs > 5 * n);
}
