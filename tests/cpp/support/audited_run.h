/// Drives a decoder by hand and compares every sequence of the draft with the path of its node: a
/// wrong cell there only costs speed, so the text does not show it.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "specbranch/decoder/decoder.h"
#include "specbranch/decoder/readable_text.h"
#include "specbranch/engine/worker.h"
#include "support/chaos_planner.h"
#include "support/support.h"

namespace specbranch::test {

using Tokens = std::vector<Token>;

inline std::ptrdiff_t common_prefix(const Tokens& a, const Tokens& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

/// A pair of models for one generation after another.
struct Models {
  explicit Models(const Scenario& scenario)
      : target(make_fake_target(scenario.target)),
        draft(make_fake_draft(scenario.draft)),
        cells(static_cast<std::size_t>(scenario.draft.n_seq)) {}

  std::unique_ptr<TargetModel> target;
  std::unique_ptr<DraftModel> draft;
  std::vector<Tokens> cells;  ///< of each of the draft's sequences, by the commands.
};

/// Drives a decoder by hand, so that a test can read the tree when a command is sent.
class AuditedRun {
 public:
  AuditedRun(const Scenario& scenario, Mode mode, std::unique_ptr<Planner> planner)
      : AuditedRun(scenario, mode, std::move(planner), std::make_shared<Models>(scenario)) {}

  AuditedRun(const Scenario& scenario, Mode mode, std::unique_ptr<Planner> planner,
             std::shared_ptr<Models> models)
      : random_(scenario.seed),
        request_(std::make_shared<Request>(scenario.request)),
        models_(std::move(models)),
        target_(models_->target.get()),
        draft_(models_->draft.get()),
        text_(request_->prompt),
        cells_(models_->cells) {
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
        if (const auto* open = std::get_if<OpenDone>(&event.body)) audit(*open);
        if (const auto* prefill = std::get_if<PrefillDone>(&event.body)) audit(*prefill);
      }
      take(decoder_->on(event));
    }
    CHECK(message_of(decoder_->error()) == "");
  }

  const Tokens& text() const { return text_; }
  int n_kept() const { return n_kept_; }
  int n_inputs() const { return n_inputs_; }
  int n_forks() const { return n_forks_; }
  /// Whole states: forks onto a sequence that held no prefix of the other one.
  int n_copied_whole() const { return n_copied_whole_; }
  const Counters& counters() const { return decoder_->counters(); }

 private:
  void take(Commands commands) {
    if (commands.target) {
      if (const auto* verify = std::get_if<VerifyCommand>(&commands.target->body)) audit(*verify);
      pending_target_ = std::move(commands.target);
    }
    if (commands.draft) {
      if (const auto* open = std::get_if<OpenCommand>(&commands.draft->body)) {
        begun_ = open->request->prompt;
        n_skipped_ = open->request->n_skipped;
        begun_.pop_back();
      } else if (const auto* pass = std::get_if<DraftCommand>(&commands.draft->body)) {
        audit(*pass);
      }
      pending_draft_ = std::move(commands.draft);
    }
  }

  void audit(const OpenDone& open) {
    REQUIRE(open.lengths.size() == cells_.size());
    std::ptrdiff_t longest = 0;
    for (const Tokens& cells : cells_) longest = std::max(longest, n_reusable(cells));
    CHECK(open.n_reused == longest);
    for (std::size_t seq = 0; seq < cells_.size(); ++seq) {
      // Sequence 0 takes over the longest prefix of the prompt; the others keep their own.
      const auto n = seq == 0 ? longest : n_reusable(cells_[seq]);
      CHECK(open.lengths[seq] == n);
      CHECK(draft_->length(static_cast<SeqId>(seq)) == n);
      cells_[seq] = Tokens(begun_.begin(), begun_.begin() + n);
      if (seq > 0 && n > 0) ++n_kept_;
    }
  }

  void audit(const PrefillDone& prefill) {
    CHECK(draft_->length(0) == prefill.length);
    cells_[0] = Tokens(begun_.begin(), begun_.begin() + prefill.length);
  }

  void audit(const VerifyCommand& verify) {
    // Before it, the target holds the text without its last token, once it is cut.
    const Pos held = target_->length(0);
    const Tokens path = test::path_of(verify);
    const Pos pos = segment_of(verify).pos;
    CHECK(pos == static_cast<Pos>(text_.size()) - 1);
    CHECK(path.front() == text_.back());
    CHECK(verify.ops.empty() == (held == pos));
    // All of it can be committed, with one more token of the target's own.
    const Capabilities target = target_->capabilities();
    auto limit = static_cast<std::size_t>(target.n_ctx);
    if (request_->max_tokens >= 0) {
      limit =
          std::min(limit, request_->prompt.size() + static_cast<std::size_t>(request_->max_tokens));
    }
    CHECK(text_.size() + path.size() <= limit);
    CHECK(static_cast<int>(path.size()) <= target.max_batch);
    for (const KvOp& op : verify.ops) {
      const auto& cut = std::get<Truncate>(op);
      CHECK(cut.expected == held);
      CHECK(cut.length == pos);
    }
  }

  void audit(const DraftCommand& command) {
    // One call a sequence at most, with whole states one more for the copy that stays behind: a
    // constant number, whatever the context holds.
    CHECK(command.ops.size() <= (whole() ? 2 : 1) * command.inputs.size());
    for (const KvOp& op : command.ops) {
      if (const auto* fork = std::get_if<Fork>(&op)) {
        apply(*fork);
      } else {
        const auto& cut = std::get<Truncate>(op);
        Tokens& seq = cells_[static_cast<std::size_t>(cut.seq)];
        CHECK(cut.expected == static_cast<Pos>(seq.size()));
        REQUIRE(cut.length <= cut.expected);
        if (whole()) CHECK(cut.length == 0);
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
    const auto common = common_prefix(to, from);
    CHECK(fork.to_length == static_cast<Pos>(to.size()));
    REQUIRE(fork.length <= static_cast<Pos>(from.size()));
    if (whole()) {
      CHECK(fork.length == static_cast<Pos>(from.size()));
      // What the copy does not take from the other sequence it drops and gets anew.
      const bool prefix = static_cast<std::size_t>(common) == to.size();
      if (fork.shared > 0) CHECK(prefix);
      if (draft_->capabilities().n_vocab == target_->capabilities().n_vocab) {
        CHECK(fork.shared == (prefix ? fork.to_length : 0));
      }
      n_copied_whole_ += prefix ? 0 : 1;
      to = from;
      return;
    }
    // No more than the longest common prefix stays, and no less: the rest is a copy.
    // Different tokens that the draft lacks are the same in the cells, which the ledger ignores.
    const Pos shared = std::min(static_cast<Pos>(common), fork.length);
    CHECK(fork.shared <= shared);
    if (draft_->capabilities().n_vocab == target_->capabilities().n_vocab) {
      CHECK(fork.shared == shared);
    }
    to = Tokens(from.begin(), from.begin() + fork.length);
  }

  bool whole() const { return draft_->capabilities().rollback == Rollback::kCopies; }

  /// Tokens of a sequence that the next prompt reuses.
  std::ptrdiff_t n_reusable(const Tokens& cells) const {
    const std::ptrdiff_t n = common_prefix(cells, begun_);
    return whole() && static_cast<std::size_t>(n) < cells.size() ? 0 : n;
  }

  /// The text up to the root from where the draft reads it, then the path from there to `id`.
  Tokens path_of(NodeId id) const {
    const SpeculationTree& tree = decoder_->tree();
    const auto n_before = static_cast<std::ptrdiff_t>(tree.at(tree.root()).pos);
    Tokens path(text_.begin(), text_.begin() + n_before);
    const Tokens rest = tree.path(id);
    path.insert(path.end(), rest.begin(), rest.end());
    path.erase(path.begin(), path.begin() + n_skipped_);
    make_readable(path, draft_->capabilities().n_vocab);
    return path;
  }

  Random random_;
  std::shared_ptr<Request> request_;
  std::shared_ptr<Models> models_;
  TargetModel* target_;
  DraftModel* draft_;
  Tokens text_;
  Pos n_skipped_ = 0;  ///< tokens of the text before the draft's window.
  Tokens begun_;       ///< what sequence 0 of the draft holds after the begin.
  std::vector<Tokens>& cells_;
  std::unique_ptr<Decoder> decoder_;
  std::optional<Command> pending_target_;
  std::optional<Command> pending_draft_;
  int n_kept_ = 0;
  int n_inputs_ = 0;
  int n_forks_ = 0;
  int n_copied_whole_ = 0;
};

struct TurnCounts {
  int n_forks = 0;
  int n_kept = 0;  ///< sequences of a later turn that kept a prefix.
};

/// Four turns of a text on the same models, in any mode; half of them under a planner without any
/// order.
inline TurnCounts run_audited_turns(Scenario scenario) {
  TurnCounts counts;
  const auto models = std::make_shared<Models>(scenario);
  Random random(scenario.seed + 1);
  const auto limit = static_cast<std::size_t>(
      std::max(2, std::min(scenario.target.n_ctx, scenario.draft.n_ctx) - 4));
  for (int turn = 0; turn < 4; ++turn) {
    INFO(describe(scenario));
    CAPTURE(turn);
    scenario.request.mode = random.pick({Mode::kSpecBranch, Mode::kAuto, Mode::kPearl});
    AuditedRun audited(scenario, scenario.request.mode,
                       random.chance(0.5) ? make_chaos(random.next()) : nullptr, models);
    audited.run();
    counts.n_forks += audited.n_forks();
    counts.n_kept += turn > 0 ? audited.n_kept() : 0;
    // Mostly the text goes on; sometimes the caller goes back, or begins another text.
    Tokens prompt = audited.text();
    if (random.chance(0.3)) prompt.resize(1 + random.next() % prompt.size());
    if (random.chance(0.1)) prompt[0] = random.between(0, scenario.draft.n_vocab - 1);
    prompt.push_back(random.between(0, scenario.draft.n_vocab - 1));
    prompt.resize(std::min(prompt.size(), limit));
    scenario.request.prompt = prompt;
  }
  return counts;
}

}  // namespace specbranch::test
