// Policies one by one: what they decide on trees made by hand, and which plans are refused.
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/planner/policy_rules.h"
#include "support/planner_bench.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

std::vector<Candidate> candidates(std::initializer_list<double> confidences) {
  std::vector<Candidate> all;
  for (const double confidence : confidences) {
    all.push_back({static_cast<Token>(all.size() + 1), confidence});
  }
  return all;
}

/// Weights that predict `predicted` for any features that have K = 1 and width 2.
std::shared_ptr<const HradWeights> oracle(WindowAcceptance predicted) {
  auto weights = std::make_shared<HradWeights>();
  weights->n_layers = 1;
  weights->n_embd = 2;
  weights->mean.assign(4, 0.0F);
  weights->scale.assign(4, 1.0F);
  weights->w1.assign(8, 0.0F);
  weights->b1.assign(2, 0.0F);
  weights->w2.assign(4, 0.0F);
  weights->b2.assign(2, 0.0F);
  weights->w3.assign(6, 0.0F);
  weights->b3.assign(3, 0.0F);
  weights->b3[static_cast<std::size_t>(predicted)] = 5.0F;
  return weights;
}

Request hrad_request(Mode mode, WindowAcceptance predicted) {
  Request request;
  request.mode = mode;
  request.max_draft = 4;
  request.policy.kind = PolicyOptions::Kind::kHrad;
  request.policy.hrad = oracle(predicted);
  request.n_feature_layers = 1;
  return request;
}

const std::vector<float> kFeatures(4, 1.0F);

/// A first round whose chain has these confidences; its first token was right. H-RAD has spoken.
Nodes first_round(Bench& bench, std::initializer_list<double> chain) {
  const NodeId root = bench.tree.root();
  for (const double confidence : chain) {
    const Started decision = bench.next();
    REQUIRE(decision.evaluate.size() == 1);
    const double rest = (1.0 - confidence) / 4;
    bench.answer(decision.evaluate[0], {confidence, rest, rest, rest});
  }
  CHECK(bench.may_apply());
  const Nodes nodes = bench.tree.path_nodes(bench.tree.main_leaf(root));
  bench.features(kFeatures);
  bench.apply(nodes[1]);
  return nodes;
}

}  // namespace

TEST_CASE("a plan out of range is refused by name, value and limits") {
  const PlanLimits limits{8, 5, 4, 3};
  validate(Plan{0, -1, 1, -1}, limits);
  validate(Plan{8, 5, 4, 3}, limits);
  struct Row {
    Plan plan;
    const char* message;
  };
  for (const Row& row :
       {Row{{-1, 0, 1, 0}, "draft_length -1; in this round it must be in 0 .. 8"},
        Row{{9, 0, 1, 0}, "draft_length 9; in this round it must be in 0 .. 8"},
        Row{{8, 6, 1, 0}, "branch_at 6; in this round it must be in 0 .. 5, or None"},
        Row{{8, -2, 1, 0}, "branch_at -2; in this round it must be in 0 .. 5, or None"},
        Row{{8, 0, 0, 0}, "branches 0; in this round it must be in 1 .. 4"},
        Row{{8, 0, 5, 0}, "branches 5; in this round it must be in 1 .. 4"},
        Row{{8, 0, 1, 4}, "submit 4; in this round it must be in 0 .. 3, or None"},
        Row{{8, 0, 1, -2}, "submit -2; in this round it must be in 0 .. 3, or None"}}) {
    CHECK_THROWS_WITH_AS(validate(row.plan, limits),
                         (std::string("the policy's plan has ") + row.message).c_str(),
                         InvalidArgument);
  }
}

TEST_CASE("AdaEDL: stops where 1 - sqrt(0.2 H) is below the threshold") {
  const EntropyThreshold threshold(0.6, 0.9);
  // H = 0: the bound is 1.
  CHECK_FALSE(threshold.low_confidence(candidates({1.0})));
  CHECK_FALSE(threshold.low_confidence(candidates({0.9, 0.1})));  // H 0.33, bound 0.74
  CHECK_FALSE(threshold.low_confidence(candidates({0.5, 0.5})));  // H 0.69, bound 0.63
  CHECK(threshold.low_confidence(candidates({0.4, 0.3, 0.3})));   // H 1.09, bound 0.53
  CHECK(threshold.low_confidence({}));
  // Only what is given counts: shares of it.
  CHECK_FALSE(threshold.low_confidence(candidates({0.05, 0.05})));
  CHECK(EntropyThreshold(0.64, 0.9).low_confidence(candidates({0.5, 0.5})));
}

TEST_CASE("AdaEDL: the threshold rises while too little is accepted, and falls while enough is") {
  EntropyThreshold threshold(0.6, 0.9);
  threshold.update(1.0);  // running acceptance 1: one tenth of a step of 0.01 down
  CHECK(threshold.lambda() == doctest::Approx(0.599));
  threshold.update(0.0);  // 0.5
  CHECK(threshold.lambda() == doctest::Approx(0.6));
  threshold.update(1.0);  // 0.75: still too little
  CHECK(threshold.lambda() == doctest::Approx(0.601));
  for (int i = 0; i < 10'000; ++i) threshold.update(0.0);
  CHECK(threshold.lambda() == 1.0);
  for (int i = 0; i < 10'000; ++i) threshold.update(1.0);
  CHECK(threshold.lambda() == 0.0);
}

TEST_CASE("AdaEDL: asks for all candidates, branches at doubts, ends pearl's windows") {
  Request request;
  request.policy.kind = PolicyOptions::Kind::kAdaEdl;
  request.max_draft = 4;
  for (const Mode mode : kLockStepModes) {
    request.mode = mode;
    CHECK(Bench(request).width() == kDraftCandidates);
  }
  request.mode = Mode::kPearl;
  Bench pearl(request);
  for (int i = 0; i < 2; ++i) pearl.answer(pearl.next().evaluate.at(0), {0.9, 0.1});
  pearl.answer(pearl.next().evaluate.at(0), {0.25, 0.25, 0.25, 0.25});
  CHECK(pearl.may_apply());
  CHECK(depth_of_main(pearl) == 2);

  request.mode = Mode::kSpecBranch;
  Bench bench(request);
  const NodeId root = bench.tree.root();
  for (int i = 0; i < 4; ++i) {
    // Same confidence each, but after the third token there are many others.
    const NodeId node = bench.next().evaluate.at(0);
    bench.answer(node, i == 2 ? std::vector<double>{0.5, 0.1, 0.1, 0.1, 0.1, 0.1}
                              : std::vector<double>{0.5, 0.5});
  }
  const Nodes nodes = bench.tree.path_nodes(bench.tree.main_leaf(root));
  bench.apply(nodes[1]);
  CHECK(bench.next().submit == nodes[2]);
}

TEST_CASE("H-RAD in specbranch: none branches at the root and leaves the window as it is") {
  Bench bench(hrad_request(Mode::kSpecBranch, WindowAcceptance::kNone));
  const Nodes nodes = first_round(bench, {0.9, 0.9, 0.9, 0.9});
  const Started decision = bench.next();
  CHECK(decision.submit == nodes[1]);
  // Confidence 0.9 alone would give one branch; the window is one, the other must be drafted.
  REQUIRE(decision.evaluate.size() == 1);
  CHECK(bench.tree.at(decision.evaluate[0]).parent == nodes[1]);
  CHECK(bench.tree.at(decision.evaluate[0]).rank == 1);
  bench.answer(decision.evaluate[0], {0.9, 0.1});
  static_cast<void>(draft_until_quiet(bench, 0.9));
  CHECK(bench.tree.main_leaf(bench.tree.root()) == nodes.back());
  CHECK(bench.tree.depth(bench.tree.main_leaf(decision.evaluate[0])) == 4);
}

TEST_CASE("H-RAD in specbranch: all keeps a window in spite of doubts, some asks the confidence") {
  struct Row {
    WindowAcceptance predicted;
    std::size_t submit;
  };
  for (const Row& row : {Row{WindowAcceptance::kAll, 4}, Row{WindowAcceptance::kSome, 2}}) {
    Bench bench(hrad_request(Mode::kSpecBranch, row.predicted));
    bench.features(kFeatures);
    bench.miss(9);
    // Predicted to be right, a window goes on past its doubts; else it ends before the first.
    const Nodes nodes = row.predicted == WindowAcceptance::kAll
                            ? first_round(bench, {0.9, 0.9, 0.2, 0.9})
                            : first_round(bench, {0.9, 0.9, 0.2});
    CHECK(bench.next().submit == nodes[row.submit]);
  }
}

TEST_CASE("H-RAD decides only when it is sure enough") {
  // The oracle gives `all` a probability of 0.987.
  for (const double sure : {0.9, 0.99}) {
    Request request = hrad_request(Mode::kSpecBranch, WindowAcceptance::kAll);
    request.policy.min_probability = sure;
    Bench bench(request);
    bench.features(kFeatures);
    bench.miss(9);
    const Nodes nodes = sure < 0.95 ? first_round(bench, {0.9, 0.9, 0.2, 0.9})
                                    : first_round(bench, {0.9, 0.9, 0.2});
    CHECK(bench.next().submit == nodes[sure < 0.95 ? 4 : 2]);
  }
}

TEST_CASE("H-RAD: what was predicted holds for one round") {
  Bench bench(hrad_request(Mode::kSpecBranch, WindowAcceptance::kNone));
  first_round(bench, {0.9, 0.9, 0.9, 0.9});
  const NodeId submitted = draft_until_quiet(bench, 0.9);
  CHECK(submitted == bench.tree.root());
  // A verification without features: the rule of the confidence.
  bench.apply(bench.tree.find_child(bench.tree.root(), 1));
  CHECK(bench.tree.depth(bench.next().submit) > 0);
}

TEST_CASE("H-RAD without branches") {
  // speculative: one token, a whole chain in spite of doubts, or up to the first doubt.
  struct Row {
    WindowAcceptance predicted;
    int depth;
  };
  for (const Row& row : {Row{WindowAcceptance::kNone, 1}, Row{WindowAcceptance::kSome, 2},
                         Row{WindowAcceptance::kAll, 4}}) {
    Bench bench(hrad_request(Mode::kSpeculative, row.predicted));
    bench.features(kFeatures);
    bench.miss(9);
    const double chain[] = {0.9, 0.9, 0.2, 0.9};
    Started decision = bench.next();
    for (int i = 0; !decision.evaluate.empty(); decision = bench.next()) {
      bench.answer(decision.evaluate[0], {chain[i++], 0.01});
    }
    CHECK(bench.tree.depth(decision.submit) == row.depth);
  }
  // pearl: the root alone, or all.
  for (const Row& row : {Row{WindowAcceptance::kNone, 0}, Row{WindowAcceptance::kAll, 3}}) {
    Bench bench(hrad_request(Mode::kPearl, row.predicted));
    first_round(bench, {0.9, 0.9, 0.2, 0.9});
    CHECK(bench.tree.depth(bench.next().submit) == row.depth);
  }
}

TEST_CASE("a plan sets the branch point, what is verified, the branches and their length") {
  Request request;
  request.mode = Mode::kSpecBranch;
  request.max_draft = 4;
  request.policy.kind = PolicyOptions::Kind::kHook;
  Bench bench(request);
  CHECK(bench.wants_plan());
  bench.plan(std::nullopt);  // skipped: the rule of the confidence
  CHECK_FALSE(bench.wants_plan());
  const Nodes nodes = first_round(bench, {0.9, 0.9, 0.9, 0.9});
  CHECK(bench.wants_plan());
  bench.plan(Plan{3, 1, 3, 2});
  CHECK_FALSE(bench.wants_plan());
  const Started decision = bench.next();
  CHECK(decision.submit == nodes[3]);  // two drafted tokens past the root, nodes[1]
  REQUIRE(decision.evaluate.size() == 3);
  CHECK(decision.evaluate[0] == nodes[4]);
  for (const std::size_t i : {1U, 2U}) {
    CHECK(bench.tree.at(decision.evaluate[i]).parent == nodes[2]);
    CHECK(bench.tree.at(decision.evaluate[i]).rank == static_cast<int>(i));
  }
  for (const NodeId node : decision.evaluate) bench.answer(node, {0.1, 0.1});
  static_cast<void>(draft_until_quiet(bench, 0.1));
  for (const NodeId node : decision.evaluate) {
    CHECK(bench.tree.depth(bench.tree.main_leaf(node)) == 1 + 3);
  }
  // Nothing at all is a plan, too.
  bench.apply(nodes[3]);
  bench.plan(Plan{0, 0, 1, 0});
  const Started nothing = bench.next();
  CHECK(nothing.submit == nodes[3]);
  CHECK(nothing.evaluate.empty());
  CHECK(bench.may_apply());
}

TEST_CASE("speculative: a plan's length counts, doubts do not") {
  Request request;
  request.mode = Mode::kSpeculative;
  request.policy.kind = PolicyOptions::Kind::kHook;
  Bench bench(request);
  CHECK(bench.wants_plan());
  bench.plan(Plan{3, -1, 1, 2});
  const NodeId submitted = draft_until_quiet(bench, 0.01);
  CHECK(bench.tree.depth(submitted) == 2);
  CHECK(depth_of_main(bench) == 3);
  // The third token is still there: two more after it.
  bench.apply(submitted);
  bench.plan(Plan{2, -1, 1, -1});
  CHECK(bench.tree.depth(draft_until_quiet(bench, 0.01)) == 3);
}

TEST_CASE("policy settings out of range are refused by name") {
  Request request;
  request.prompt = {0};
  const auto message = [&] {
    try {
      validate(request, 8);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(message().empty());
  request.policy.lambda = 1.5;
  CHECK(message() == "lambda is 1.5; it must be in [0, 1]");
  request.policy.lambda = std::numeric_limits<double>::quiet_NaN();
  CHECK(message() == "lambda is nan; it must be in [0, 1]");
  request.policy.lambda = 0.5;
  request.policy.acceptance = -0.1;
  CHECK(message() == "acceptance is -0.1; it must be in [0, 1]");
  request.policy.acceptance = 0.9;
  request.policy.kind = PolicyOptions::Kind::kHrad;
  CHECK(message() == "policy H-RAD has no weights");
  request.policy.hrad = oracle(WindowAcceptance::kSome);
  CHECK(message() == "n_feature_layers is 0; the policy's weights need 1");
  request.n_feature_layers = 1;
  CHECK(message().empty());
}
