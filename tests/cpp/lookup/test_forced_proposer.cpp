// The proposals of a grammar that leaves no choice.
#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <vector>

#include "specbranch/lookup/forced_proposer.h"
#include "specbranch/lookup/text_path.h"

using namespace specbranch;

namespace {

/// Always the same token.
class OneToken final : public Proposer {
 public:
  OneToken(Token token, double probability) : proposal_{token, probability, TokenSource::kText} {}
  void commit(Token /*token*/) override {}
  std::optional<Proposal> propose(const SpeculationTree& /*tree*/, NodeId /*node*/) override {
    return proposal_;
  }

 private:
  Proposal proposal_;
};

struct Tree {
  Tree() { tree.reset(0, 4); }
  std::vector<Token> path(Proposer& proposer, int max_depth = 10) {
    const NodeId end = extend_by_text(tree, proposer, tree.root(), {max_depth, 0.0});
    std::vector<Token> tokens = tree.path(end);
    tokens.erase(tokens.begin());
    return tokens;
  }
  SpeculationTree tree;
};

}  // namespace

TEST_CASE("forced tokens come one after the other, then nothing, or a text") {
  Tree at;
  LookupTable table;
  ForcedProposer alone(nullptr, &table);
  CHECK(at.path(alone).empty());
  alone.force({{5, 6, 7}, 3});
  CHECK(at.path(alone) == std::vector<Token>{5, 6, 7});
  const Node& first = at.tree.at(at.tree.find_child(at.tree.root(), 5));
  CHECK(first.forced);
  CHECK(first.source == TokenSource::kGrammar);
  CHECK(first.text_probability > 0.95);
  Tree other;
  ForcedProposer beside(std::make_unique<OneToken>(9, 0.8), &table);
  beside.force({{5, 6}, 2});
  CHECK(other.path(beside, 4) == std::vector<Token>{5, 6, 9, 9});
  const NodeId second = other.tree.find_child(other.tree.find_child(other.tree.root(), 5), 6);
  CHECK_FALSE(other.tree.at(other.tree.find_child(second, 9)).forced);
}

TEST_CASE("forced tokens are proposed only along their own path") {
  Tree at;
  LookupTable table;
  ForcedProposer forced(nullptr, &table);
  forced.force({{5, 6}, 2});
  const NodeId off = at.tree.add_child(at.tree.root(), Proposal{8, 0.5});
  CHECK_FALSE(forced.propose(at.tree, off));
  const NodeId on = at.tree.add_child(at.tree.root(), Proposal{5, 0.5});
  CHECK(forced.propose(at.tree, on)->token == 6);
}

TEST_CASE("committed tokens shorten the run, and another token ends it") {
  LookupTable table;
  ForcedProposer forced(nullptr, &table);
  forced.force({{5, 6, 7}, 3});
  forced.commit(5);
  CHECK(Tree().path(forced) == std::vector<Token>{6, 7});
  forced.commit(1);
  CHECK(Tree().path(forced).empty());
}

TEST_CASE("a guess gives way to a text that is surer, a sure token does not") {
  LookupTable table;
  ForcedProposer forced(std::make_unique<OneToken>(9, 0.95), &table);
  forced.force({{5, 6}, 1});
  CHECK(Tree().path(forced, 2) == std::vector<Token>{5, 9});
}

TEST_CASE("how often forced tokens come true is learned, of sure ones and of guesses apart") {
  LookupTable table;
  ForcedProposer forced(nullptr, &table);
  const auto probability = [&](std::size_t n_sure) {
    Tree at;
    forced.force({{5}, n_sure});
    return forced.propose(at.tree, at.tree.root())->probability;
  };
  const double sure = probability(1);
  const double guess = probability(0);
  CHECK(guess < sure);
  for (int i = 0; i < 40; ++i) {
    forced.force({{5}, 0});
    forced.commit(5);
  }
  CHECK(probability(0) > 0.9);
  CHECK(probability(1) == sure);
  for (int i = 0; i < 40; ++i) {
    forced.force({{5}, 1});
    forced.commit(6);
  }
  CHECK(probability(1) < 0.7);
  CHECK(probability(0) > 0.9);
}
