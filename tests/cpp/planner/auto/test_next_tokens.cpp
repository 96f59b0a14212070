// The tree of all sources: the next tokens, the best path, and what the draft evaluates.
#include "specbranch/planner/auto/next_tokens.h"

#include <vector>

#include "specbranch/lookup/text_path.h"
#include "specbranch/planner/auto/tree_expansion.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// A tree at position 10 with what learns of its sources.
struct Fixture {
  AcceptanceTable acceptance_table;
  LookupTable lookup_table;
  AcceptanceModel acceptance{&acceptance_table};
  SourceAgreement agreement{&lookup_table};
  PairProfile profile = flat_profile();
  CostModel costs{&profile};
  SpeculationTree tree;

  Fixture() { tree.reset(7, 10); }

  TokenSources sources() const { return {acceptance, agreement}; }

  View view() const {
    View view{.tree = tree};
    view.max_depth = 64;
    view.max_path = 32;
    view.free_seqs = 8;
    view.n_seqs = 8;
    view.n_unread = 1;
    return view;
  }

  void evaluate(NodeId node, const std::vector<Token>& tokens, double first) {
    Node& at = tree.at(node);
    at.evaluated = true;
    double left = first;
    for (const Token token : tokens) {
      at.candidates.push_back({.token = token, .confidence = static_cast<float>(left)});
      left = 0.5 * (1.0 - left);
    }
  }

  /// A chain of tokens that a text proposes after `node`; returns the last one.
  NodeId text(NodeId node, const std::vector<Token>& tokens, double probability) {
    for (const Token token : tokens) node = tree.add_child(node, {token, probability});
    return node;
  }

  DraftPath path(int max_length = 32, int max_drafted = 8) const {
    return best_path(view(), sources(), tree.root(), max_length, max_drafted);
  }

  std::vector<Token> tokens(const DraftPath& path) const { return tree.path(path.end); }
};

ExpansionLimits some_limits() {
  ExpansionLimits limits;
  limits.max_depth = 32;
  limits.max_branches = 2;
  limits.max_nodes = 8;
  limits.min_chance = 0.01;
  return limits;
}

}  // namespace

TEST_CASE("next tokens: what the grammar forces is as sure as it says, whatever the draft says") {
  for (const Token forced : {1, 2, 5}) {  // the draft's first choice, its second, none of them
    CAPTURE(forced);
    Fixture f;
    const NodeId root = f.tree.root();
    const NodeId child = f.tree.add_child(root, Proposal{forced, 0.9, TokenSource::kGrammar});
    f.evaluate(root, {1, 2}, 0.95);
    const NextTokens next = f.sources().after(f.tree, root, 2);
    REQUIRE(next.ranks.size() == 2);
    CHECK(next.in_texts);
    CHECK(next.text == (forced == 1 ? kNoNode : child));
    CHECK(next.text_ranked == (forced != 5));
    const double chance = forced == 1 ? next.ranks[0] : next.text_chance;
    CHECK(chance >= 0.9);
    CHECK(chance + (forced == 1 ? 0.0 : next.ranks[0]) <= 1.0);
    CHECK(f.tree.path(f.path(1).end).back() == forced);
  }
}

TEST_CASE("next tokens: of the draft, of a text, and of both") {
  Fixture f;
  const NodeId root = f.tree.root();
  CHECK(f.sources().after(f.tree, root, 4).ranks.empty());
  CHECK_FALSE(f.sources().after(f.tree, root, 4).text_first());

  const NodeId copied = f.text(root, {5}, 0.8);
  NextTokens next = f.sources().after(f.tree, root, 4);
  CHECK(next.text_first());
  CHECK(next.text == copied);
  CHECK(next.text_chance == 0.8);

  // The draft agrees: one token, surer than before.
  f.evaluate(root, {5, 6, 8}, 0.7);
  next = f.sources().after(f.tree, root, 4);
  CHECK(next.text == kNoNode);
  CHECK(next.ranks[0] > 0.85);
  CHECK(next.ranks[0] + next.ranks[1] + next.ranks[2] <= 1.0);

  // It disagrees: both are less probable than alone, the better one leads.
  Fixture g;
  g.text(g.tree.root(), {5}, 0.8);
  g.evaluate(g.tree.root(), {6, 5, 8}, 0.6);
  next = g.sources().after(g.tree, g.tree.root(), 4);
  CHECK(next.text_first());
  CHECK(next.text_chance < 0.8);
  CHECK(next.ranks[0] < 0.6);
  // The second choice of the draft is the same node.
  CHECK(next.text_ranked);
  CHECK(next.ranks[1] == next.text_chance);
  CHECK(next.ranks[0] + next.ranks[1] + next.ranks[2] <= 1.0);
}

TEST_CASE("best path: goes from one source to the other, and counts what only the draft says") {
  Fixture f;
  const NodeId end = f.text(f.tree.root(), {1, 2}, 0.9);
  f.evaluate(end, {3, 4}, 0.8);
  DraftPath path = f.path();
  CHECK(path.open);
  CHECK(path.n_text == 2);
  CHECK(path.chances.size() == 3);
  CHECK(path.chances[1] == doctest::Approx(0.81));
  const NodeId drafted = f.tree.add(NodeRef{path.end, 0});
  f.text(drafted, {5, 6, 7}, 0.9);
  path = f.path();
  CHECK(f.tokens(path) == std::vector<Token>{7, 1, 2, 3, 5, 6, 7});
  CHECK(path.n_text == 5);
  CHECK_FALSE(path.open);
  CHECK(f.tokens(f.path(4)) == std::vector<Token>{7, 1, 2, 3, 5});
  CHECK(f.tokens(f.path(32, 0)) == std::vector<Token>{7, 1, 2});
  const DraftPath shorter = cut(f.tree, path, 3);
  CHECK(shorter.end == drafted);
  CHECK(shorter.chances.size() == 3);
  CHECK(cut(f.tree, path, 6).end == path.end);
}

TEST_CASE("expansion: the draft looks where the text ends, once, and reads what it has not read") {
  Fixture f;
  const NodeId end = f.text(f.tree.root(), {1, 2, 3, 4}, 0.97);
  auto found = best_expansion(f.view(), f.sources(), f.costs, some_limits());
  REQUIRE(found.size() == 1);
  CHECK(found[0].node == NodeRef{end});
  CHECK(found[0].n_tokens == 5);
  CHECK(found[0].chance == doctest::Approx(0.97 * 0.97 * 0.97 * 0.97));
  CHECK(n_undecoded(f.view(), end) == 5);

  // The draft holds the path up to the third token.
  f.tree.at(f.tree.root()).seq = 0;
  for (const NodeId id : f.tree.path_nodes(end)) {
    if (id != end) f.tree.at(id).seq = 0;
  }
  CHECK(n_undecoded(f.view(), end) == 1);

  // A text that is unsure leaves the draft something to say at the root.
  Fixture g;
  g.text(g.tree.root(), {1}, 0.2);
  found = best_expansion(g.view(), g.sources(), g.costs, some_limits());
  REQUIRE(found.size() == 1);
  CHECK(found[0].node == NodeRef{g.tree.root()});
  CHECK(found[0].chance == doctest::Approx(0.8));

  // What the target waits for comes first.
  ExpansionLimits limits = some_limits();
  limits.awaited = {end};
  found = best_expansion(f.view(), f.sources(), f.costs, limits);
  CHECK(found[0].node == NodeRef{end});
}

TEST_CASE("expansion: a drafted token after which a text knows more needs no look") {
  Fixture f;
  f.evaluate(f.tree.root(), {1, 2}, 0.7);
  f.tree.at(f.tree.root()).seq = 0;
  const NodeId first = f.tree.add(NodeRef{f.tree.root(), 0});
  auto found = best_expansion(f.view(), f.sources(), f.costs, some_limits());
  REQUIRE_FALSE(found.empty());
  CHECK(found[0].node == NodeRef{f.tree.root(), 0});
  const double before = found[0].chance;
  f.text(first, {5}, 0.9);
  found = best_expansion(f.view(), f.sources(), f.costs, some_limits());
  for (const ExpansionCandidate& one : found) {
    if (one.node == NodeRef{f.tree.root(), 0}) CHECK(one.chance < 0.2 * before);
  }
}

TEST_CASE("auto: texts go on after the token that the draft thinks most probable") {
  PairProfile profile = flat_profile();
  Request request;
  request.mode = Mode::kAuto;
  request.prompt = {1, 2, 3};
  const auto planner = make_eager_auto(request, &profile);
  SpeculationTree tree;
  const NodeId root = tree.reset(3, 2);
  View view{.tree = tree};
  view.max_depth = view.max_path = 8;
  view.free_seqs = view.n_seqs = 8;
  CHECK(planner->text_tip(view).node == root);  // nobody has said more
  tree.at(root).evaluated = true;
  tree.at(root).candidates = {Candidate{7, 0.9F}, Candidate{8, 0.1F}};
  const NodeRef proposed = planner->text_tip(view);
  CHECK(proposed == NodeRef{root, 0});
  const NodeId child = tree.add(proposed);
  CHECK(tree.at(child).token == 7);
  CHECK(planner->text_tip(view) == NodeRef{child});
}
