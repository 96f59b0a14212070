// Planners on trees made by hand: stopping rules, limits, a draft that cannot be used.
#include <algorithm>
#include <string>

#include "support/planner_bench.h"

using namespace specbranch;
using namespace specbranch::test;

TEST_CASE("autoregressive submits the root and nothing else") {
  Bench bench(Mode::kAutoregressive);
  const Started first = bench.next();
  CHECK(first.submit == bench.tree.root());
  CHECK(first.evaluate.empty());
  CHECK(bench.next().submit == kNoNode);  // one at a time
  CHECK(bench.may_apply());
}

TEST_CASE("speculative drafts a chain of max_draft, then submits it") {
  Bench bench(Mode::kSpeculative, 3, 0.0);
  const NodeId leaf = draft_until_quiet(bench, 0.9);
  CHECK(bench.tree.depth(leaf) == 3);
  CHECK(bench.tree.size() == 4);
  CHECK_FALSE(bench.tree.at(leaf).evaluated);  // what comes after it is not needed
  CHECK(bench.width() == 1);
  CHECK(bench.may_apply());
  // Nothing is drafted while the target verifies.
  CHECK(bench.next().evaluate.empty());
}

TEST_CASE("speculative never works on both models at once") {
  Bench bench(Mode::kSpeculative, 2, 0.0);
  for (int i = 0; i < 2; ++i) {
    const Started decision = bench.next();
    REQUIRE(decision.evaluate.size() == 1);
    CHECK(decision.submit == kNoNode);
    const Started waiting = bench.next();  // the draft is at work
    CHECK(waiting.evaluate.empty());
    CHECK(waiting.submit == kNoNode);
    bench.answer(decision.evaluate[0], {0.9});
  }
  CHECK(bench.next().submit != kNoNode);
}

TEST_CASE("speculative stops before the first token below epsilon") {
  Bench bench(Mode::kSpeculative, 8, 0.5);
  NodeId node = bench.next().evaluate.at(0);
  CHECK(node == bench.tree.root());
  bench.answer(node, {0.9});
  node = bench.next().evaluate.at(0);
  bench.answer(node, {0.5});  // not below
  node = bench.next().evaluate.at(0);
  bench.answer(node, {0.49});
  const Started decision = bench.next();
  CHECK(decision.evaluate.empty());
  CHECK(decision.submit == node);
  CHECK(bench.tree.depth(node) == 2);
}

TEST_CASE("speculative submits the bare root if even the first token is doubted") {
  Bench bench(Mode::kSpeculative, 8, 0.5);
  bench.answer(bench.next().evaluate.at(0), {0.1});
  CHECK(bench.next().submit == bench.tree.root());
}

TEST_CASE("a fixed length stops there whatever the confidence, within max_draft") {
  for (const int gamma : {1, 2, 3, 9}) {
    for (const Mode mode : {Mode::kSpeculative, Mode::kPearl}) {
      Bench bench(mode, 4);
      bench.set_gamma(gamma);
      CAPTURE(gamma);
      static_cast<void>(draft_until_quiet(bench, 0.01));
      CHECK(depth_of_main(bench) == std::min(gamma, 4));
    }
  }
}

TEST_CASE("limits bind every mode") {
  for (const Mode mode : kDraftingModes) {
    for (const int max_depth : {0, 1, 3}) {
      for (const int max_path : {0, 1, 2}) {
        CAPTURE(std::string(to_string(mode)));
        CAPTURE(max_depth);
        CAPTURE(max_path);
        Bench bench(mode, 6, 0.0);
        bench.max_depth = max_depth;
        bench.max_path = std::min(max_path, max_depth);
        for (int round = 0; round < 3; ++round) {
          const NodeId end = draft_until_quiet(bench, 0.8);
          REQUIRE(end != kNoNode);
          CHECK(bench.tree.depth(end) <= bench.max_path);
          for (const auto& [id, node] : bench.tree.nodes()) {
            CHECK(bench.tree.depth(id) <= bench.max_depth);
            // A node at the limit needs no evaluation: nothing after it can be used.
            if (bench.tree.depth(id) == bench.max_depth) CHECK_FALSE(node.evaluated);
          }
          CHECK(bench.may_apply());
          const NodeId first = bench.tree.find_child(bench.tree.root(), 1);
          if (first == kNoNode) break;
          bench.apply(first);
          --bench.max_depth;
          bench.max_path = std::min(bench.max_path, bench.max_depth);
        }
      }
    }
  }
}

TEST_CASE("with an unusable draft every mode goes on alone") {
  for (const Mode mode : kDraftingModes) {
    Bench bench(mode);
    bench.draft_usable = false;
    bench.free_seqs = 0;
    for (int i = 0; i < 3; ++i) {
      const Started decision = bench.next();
      CHECK(decision.evaluate.empty());
      CHECK(decision.submit == bench.tree.root());
      CHECK(bench.may_apply());
      bench.miss(i + 1);
    }
  }
}

TEST_CASE("a chain drafted before the draft became unusable is still verified") {
  for (const Mode mode : kDraftingModes) {
    CAPTURE(std::string(to_string(mode)));
    Bench bench(mode, 3, 0.0);
    bench.tree.at(bench.tree.root()).evaluated = true;
    bench.tree.at(bench.tree.root()).candidates = {{1, 0.9}};
    const NodeId child = bench.tree.add_child(bench.tree.root(), 0);
    bench.draft_usable = false;
    CHECK(bench.next().submit == child);
    CHECK(bench.may_apply());
  }
}
