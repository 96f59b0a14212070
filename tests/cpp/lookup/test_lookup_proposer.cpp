// What the texts propose, and how probable it is called.
#include <memory>
#include <vector>

#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/lookup/text_path.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

using Tokens = std::vector<Token>;

Tokens count_from(Token first, int n) {
  Tokens text;
  for (int i = 0; i < n; ++i) text.push_back(first + i);
  return text;
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A text, the proposer and the tree at its end.
class Texts {
 public:
  explicit Texts(const Tokens& prompt, const Tokens& prediction = {}, const Tokens& other = {}) {
    LookupTexts texts;
    texts.own = automaton_of(prompt);
    if (!prediction.empty()) texts.prediction = automaton_of(prediction);
    if (!other.empty()) {
      auto pool = std::make_shared<TextPool>(1000);
      pool->add(other);
      texts.pools.push_back(pool);
    }
    proposer = std::make_unique<LookupProposer>(texts, &table);
    pos_ = static_cast<Pos>(prompt.size()) - 1;
    tree.reset(prompt.back(), pos_);
  }

  void commit(const Tokens& tokens) {
    for (const Token token : tokens) {
      proposer->commit(token);
      tree.reset(token, ++pos_);
    }
  }

  /// The tokens of the chain that is proposed now.
  Tokens chain(int max_depth = 16, double least = 0.0) {
    extend_by_text(tree, *proposer, tree.root(), {max_depth, least});
    Tokens tokens = tree.path(tree.main_leaf(tree.root()));
    tokens.erase(tokens.begin());
    return tokens;
  }

  const Node& first() { return tree.at(tree.at(tree.root()).children.front()); }

  LookupTable table;
  std::unique_ptr<LookupProposer> proposer;
  SpeculationTree tree;

 private:
  Pos pos_ = 0;
};

}  // namespace

TEST_CASE("lookup: a text that does not repeat itself proposes nothing") {
  Texts texts(count_from(0, 20));
  CHECK(texts.chain().empty());
  CHECK(texts.tree.size() == 1);
}

TEST_CASE("lookup: the chain is what followed the longest match, to its end or the limit") {
  Texts texts(count_from(10, 20) + count_from(500, 3) + count_from(10, 5));
  CHECK(texts.chain() == count_from(15, 15) + Tokens{500});
  CHECK(texts.first().source == TokenSource::kText);
  CHECK(texts.first().rank == kNoRank);
  texts.commit({15});
  CHECK(texts.chain(3) == count_from(16, 3));
  CHECK(texts.chain(0) == count_from(16, 3));    // what is there stays ...
  CHECK(texts.first().text_probability == 0.0);  // ... and is not proposed any more
}

TEST_CASE("lookup: the chain ends where it has become improbable") {
  Texts texts(count_from(10, 40) + Tokens{500} + count_from(10, 20));
  const std::size_t n = texts.chain(16, 0.5).size();
  CHECK(n > 0);
  CHECK(n < 16);
  double probability = 1.0;
  NodeId node = texts.tree.root();
  while (!texts.tree.at(node).children.empty()) {
    node = texts.tree.at(node).children.front();
    probability *= texts.tree.at(node).text_probability;
  }
  CHECK(probability >= 0.5);
}

TEST_CASE("lookup: longer matches and matches that were right are more probable") {
  Texts texts(count_from(10, 64) + Tokens{500, 10});
  double last = 0.0;
  for (int length = 1; length <= 32; ++length) {
    REQUIRE_FALSE(texts.chain(1).empty());
    const double probability = texts.first().text_probability;
    CHECK(probability >= 0.9 * last);
    CHECK(probability < 1.0);
    last = probability;
    texts.commit({10 + length});
  }
  CHECK(last > 0.9);
}

TEST_CASE(
    "lookup: a proposal that is never right becomes improbable, one that is becomes certain") {
  for (const bool right : {false, true}) {
    CAPTURE(right);
    Tokens prompt;
    for (int i = 0; i < 3; ++i) prompt = prompt + count_from(10, 5) + Tokens{100 + i};
    Texts texts(prompt + count_from(10, 5));
    for (int i = 0; i < 100; ++i) {
      REQUIRE_FALSE(texts.chain(1).empty());
      const Token proposed = texts.first().token;
      texts.commit({right ? proposed : 200 + i});
      texts.commit(count_from(10, 5));
    }
    REQUIRE_FALSE(texts.chain(1).empty());
    const double probability = texts.first().text_probability;
    CHECK((right ? probability > 0.9 : probability < 0.1));
  }
}

TEST_CASE("lookup: a new text begins with little of what the last one taught") {
  LookupTable table;
  table.count.fill(50.0);
  table.hits.fill(25.0);
  const LookupProposer proposer({automaton_of(count_from(1, 8)), nullptr, {}}, &table);
  for (std::size_t i = 0; i < table.count.size(); ++i) {
    CHECK(table.count[i] < 25.0);
    CHECK(table.hits[i] == doctest::Approx(0.5 * table.count[i]));
  }
}

TEST_CASE("lookup: past a changed token the copy goes on at once") {
  Texts texts(count_from(10, 60) + Tokens{500} + count_from(10, 12));
  texts.commit({999});  // in place of 22
  // Nothing that was there ends with 999: the match alone proposes nothing.
  CHECK(texts.chain(3) == count_from(23, 3));
  texts.commit({23});
  CHECK(texts.chain(3) == count_from(24, 3));
}

TEST_CASE("lookup: the prediction is proposed from its begin, and is told apart") {
  Texts texts(Tokens{1, 2, 3}, count_from(50, 20));
  CHECK(texts.chain(4) == count_from(50, 4));
  CHECK(texts.first().source == TokenSource::kPrediction);
  texts.commit(count_from(50, 8));
  texts.commit({999});
  CHECK(texts.chain(2) == count_from(59, 2));
  CHECK(texts.first().source == TokenSource::kPrediction);
  // From another place: a long match is needed.
  Texts later(Tokens{1, 2, 3}, count_from(50, 40));
  later.commit(count_from(70, 10));
  CHECK(later.chain(3) == count_from(80, 3));
}

TEST_CASE("lookup: another text is proposed after enough tokens of it") {
  Texts texts(Tokens{1, 2, 3}, {}, count_from(50, 20));
  CHECK(texts.chain().empty());
  texts.commit(count_from(52, TextPool::kLeastContext));
  CHECK(texts.chain(3) == count_from(52 + TextPool::kLeastContext, 3));
  CHECK(texts.first().source == TokenSource::kText);
}

TEST_CASE("lookup: a branch of the tree is followed from where it is") {
  Texts texts(count_from(10, 30) + Tokens{500} + count_from(10, 6) + Tokens{600, 610, 620} +
              count_from(10, 6));
  // Two continuations: 600 610 .. and 16 17 ..; the match proposes the newer one.
  const NodeId other = texts.tree.add_child(texts.tree.root(), Proposal{16, 0.5});
  const std::optional<Proposal> proposal = texts.proposer->propose(texts.tree, other);
  REQUIRE(proposal);
  CHECK(proposal->token == 17);
  const NodeId newer = texts.tree.add_child(texts.tree.root(), Proposal{600, 0.5});
  REQUIRE(texts.proposer->propose(texts.tree, newer));
  CHECK(texts.proposer->propose(texts.tree, newer)->token == 610);
}

TEST_CASE("lookup: the answer does not depend on what was asked before") {
  // Only committed tokens count: a proposer that was asked about branches goes on as one that was
  // not.
  Random random(5);
  for (int i = 0; i < scaled(20); ++i) {
    CAPTURE(i);
    Tokens prompt;
    for (int k = 0; k < 60; ++k) prompt.push_back(random.between(0, 5));
    Texts asked(prompt, count_from(0, 6), prompt);
    Texts silent(prompt, count_from(0, 6), prompt);
    for (int step = 0; step < 40; ++step) {
      NodeId node = asked.tree.root();
      for (int depth = 0; depth < 6; ++depth) {
        static_cast<void>(asked.proposer->propose(asked.tree, node));
        node = asked.tree.add_child(node, Proposal{random.between(0, 5), 0.5});
      }
      const Token token = random.between(0, 5);
      asked.commit({token});
      silent.commit({token});
      CHECK(asked.table == silent.table);
      CHECK(asked.chain() == silent.chain());
      asked.tree.reset(token, asked.tree.at(asked.tree.root()).pos);
      silent.tree.reset(token, silent.tree.at(silent.tree.root()).pos);
    }
  }
}

TEST_CASE("lookup: what was proposed after a branch is looked up anew when the text goes on") {
  // After 1 2 3 4 came 50. On the way to the node the text says 51 there.
  const Tokens run{1, 2, 3, 4};
  Texts texts(count_from(20, 4) + run + Tokens{50} + count_from(30, 4));
  const Tokens said = run + Tokens{51} + count_from(40, 2);
  NodeId node = texts.tree.root();
  for (const Token token : said + run) node = texts.tree.add_child(node, Proposal{token, 1.0});
  const auto before = texts.proposer->propose(texts.tree, node);
  REQUIRE(before.has_value());
  CHECK(before->token == 50);
  for (const Token token : said) {
    texts.proposer->commit(token);
    texts.tree.reroot(texts.tree.find_child(texts.tree.root(), token));
  }
  const auto after = texts.proposer->propose(texts.tree, node);
  REQUIRE(after.has_value());
  CHECK(after->token == 51);
}
