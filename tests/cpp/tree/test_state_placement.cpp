// Drafts with a recurrent state: sequences are copied and dropped as a whole. The fake throws where
// anything else is asked of it, and every sequence is compared with the path of its node.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/tree/state_placement.h"
#include "support/audited_run.h"
#include "support/chaos_planner.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

Scenario make_state_scenario(std::uint64_t seed) {
  Scenario scenario = make_scenario(seed);
  scenario.draft.whole_states = true;
  scenario.draft.n_seq = Random(seed + 5).pick({3, 4, 6, 8, 16});
  return scenario;
}

std::vector<Candidate> candidates(std::vector<Token> tokens) {
  std::vector<Candidate> result;
  for (const Token token : tokens) result.push_back({token, 0.5});
  return result;
}

/// A placement with its tree and ledger. The draft never disagrees with the ledger here.
struct Bench {
  Bench(std::vector<Token> text, int n_seq) {
    root = tree.reset(text.back(), static_cast<Pos>(text.size()) - 1);
    const auto n_prefill = static_cast<Pos>(text.size()) - 1;
    ledger.reset(std::move(text), n_seq);
    std::vector<Pos> lengths(static_cast<std::size_t>(n_seq), 0);
    lengths[0] = n_prefill;
    ledger.begin(lengths);
  }

  DraftCommand pass(std::vector<NodeId> nodes) {
    DraftCommand command;
    placement.place(tree, nodes, ledger, command);
    for (const SequenceInput& input : command.inputs) {
      tree.at(input.node).evaluated = true;
      tree.at(input.node).candidates = candidates({10, 11, 12, 13});
    }
    return command;
  }

  /// The target chose the child of the root with `token`, or another token.
  void commit(Token token) {
    ledger.commit(token);
    const NodeId child = tree.find_child(tree.root(), token);
    const Pos pos = tree.at(tree.root()).pos + 1;
    root = child == kNoNode ? tree.reset(token, pos) : child;
    if (child != kNoNode) tree.reroot(child);
  }

  StatePlacement placement;
  SpeculationTree tree;
  KvLedger ledger;
  NodeId root = kNoNode;
};

int count_tokens(const DraftCommand& command) { return command.n_tokens(); }

}  // namespace

TEST_CASE("a branch that goes on leaves a copy of its state behind") {
  Bench bench({1, 2, 3}, 5);
  DraftCommand command = bench.pass({bench.root});
  CHECK(count_tokens(command) == 1);
  // The text's state stays, so that an abort loses nothing.
  CHECK(bench.ledger.length(0) == 2);
  const NodeId a = bench.tree.add_child(bench.root, 0);
  command = bench.pass({a});
  CHECK(count_tokens(command) == 1);
  const NodeId b = bench.tree.add_child(a, 0);
  command = bench.pass({b});
  CHECK(count_tokens(command) == 1);
  SUBCASE("a second child of a node on the way costs one token") {
    const NodeId other = bench.tree.add_child(bench.root, 1);
    CHECK(count_tokens(bench.pass({other})) == 1);
  }
  SUBCASE("so does a token that nobody drafted") {
    bench.commit(10);  // a
    bench.commit(29);
    CHECK(count_tokens(bench.pass({bench.root})) == 1);
  }
  SUBCASE("branches of one node need one token each") {
    const NodeId c = bench.tree.add_child(b, 0);
    const NodeId d = bench.tree.add_child(b, 1);
    command = bench.pass({c, d});
    CHECK(count_tokens(command) == 2);
    CHECK(bench.tree.at(c).seq != bench.tree.at(d).seq);
  }
}

TEST_CASE("where sequences are short, the checkpoint goes that costs least to decode again") {
  Bench bench({1, 2, 3}, 4);  // one branch, the text, two checkpoints
  NodeId node = bench.root;
  bench.pass({node});
  for (int depth = 0; depth < 8; ++depth) {
    node = bench.tree.add_child(node, 0);
    CHECK(count_tokens(bench.pass({node})) == 1);
  }
  // Every text can go on from some state, and none is read from its beginning.
  for (int depth = 1; depth < 8; ++depth) {
    CAPTURE(depth);
    Bench copy({1, 2, 3}, 4);
    NodeId end = copy.root;
    copy.pass({end});
    for (int i = 0; i < 8; ++i) {
      end = copy.tree.add_child(end, 0);
      copy.pass({end});
    }
    for (int i = 0; i < depth; ++i) copy.commit(10);
    copy.commit(29);
    CHECK(count_tokens(copy.pass({copy.root})) <= 1 + depth);
  }
}

TEST_CASE("an aborted pass loses the sequences that it was to extend, and no other") {
  Bench bench({1, 2, 3, 4, 5, 6, 7, 8}, 4);
  bench.pass({bench.root});
  const NodeId a = bench.tree.add_child(bench.root, 0);
  const DraftCommand command = bench.pass({a});
  bench.placement.undo(bench.tree, bench.ledger, command.inputs);
  CHECK(bench.ledger.length(command.inputs[0].seq) == 0);
  CHECK(bench.tree.at(a).seq == kNoSeq);
  CHECK(bench.tree.at(bench.root).seq == kNoSeq);
  // The root's state was left behind.
  CHECK(count_tokens(bench.pass({a})) == 1);
}

TEST_CASE("copies go onto prefixes, whose cells stay, while a text goes on") {
  Bench bench({1, 2, 3}, 8);
  int n_onto_others = 0;
  bench.pass({bench.root});
  NodeId node = bench.root;
  for (int i = 0; i < 100; ++i) {
    node = bench.tree.add_child(node, 0);
    const DraftCommand command = bench.pass({node});
    CHECK(count_tokens(command) == 1);
    for (const KvOp& op : command.ops) {
      const auto& fork = std::get<Fork>(op);
      n_onto_others += fork.shared < fork.to_length ? 1 : 0;
    }
    if (i % 3 == 2) {
      for (int j = 0; j < 3; ++j) bench.commit(10);
    }
  }
  CHECK(n_onto_others == 0);
}

TEST_CASE("branches take what is not reserved, and a pass that wants more is refused") {
  Bench bench({1, 2, 3}, 5);
  CHECK(bench.placement.count_free(bench.tree, bench.ledger) == 3);
  bench.pass({bench.root});
  CHECK(bench.placement.count_free(bench.tree, bench.ledger) == 2);
  std::vector<NodeId> children;
  for (int rank = 0; rank < 3; ++rank) children.push_back(bench.tree.add_child(bench.root, rank));
  CHECK(count_tokens(bench.pass(children)) == 3);
  CHECK(bench.placement.count_free(bench.tree, bench.ledger) == 0);
  std::vector<NodeId> more;
  for (const NodeId child : children) {
    for (int rank = 0; rank < 2; ++rank) more.push_back(bench.tree.add_child(child, rank));
  }
  CHECK_THROWS_AS(bench.pass(more), PreconditionError);
}

TEST_CASE("every sequence of every mode holds just the path of its node") {
  const int n = scaled(400);
  int n_forks = 0;
  int n_inputs = 0;
  int n_copied_whole = 0;
  std::int64_t n_passes = 0;
  std::int64_t n_tokens = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_state_scenario(static_cast<std::uint64_t>(i) + 160'000);
    for (const Mode mode : kDraftingModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      PairProfile profile = flat_profile();
      AuditedRun audited(
          scenario, mode,
          mode == Mode::kAuto ? make_eager_auto(scenario.request, &profile) : nullptr);
      audited.run();
      n_forks += audited.n_forks();
      n_inputs += audited.n_inputs();
      n_copied_whole += audited.n_copied_whole();
      n_passes += audited.counters().n_draft_steps;
      n_tokens += audited.counters().n_draft_lanes;
    }
  }
  MESSAGE(n_passes << " passes, " << n_inputs << " nodes, " << n_tokens << " tokens, " << n_forks
                   << " copies, " << n_copied_whole << " of them of the whole text");
  CHECK(n_forks > n);
  CHECK(n_inputs > 5 * n);
}

TEST_CASE("so does every sequence of a planner without any order, turn after turn") {
  const int n = scaled(300);
  int n_kept = 0;
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_state_scenario(static_cast<std::uint64_t>(i) + 190'000);
    n_kept += run_audited_turns(std::move(scenario)).n_kept;
  }
  CHECK(n_kept > n);
}
