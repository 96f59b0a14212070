// The fourth oracle: a broken precondition is an error that changes nothing, never a repair.
#include <cmath>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "specbranch/simulation/fake_model.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

FakeOptions make_options() {
  FakeOptions options;
  options.n_vocab = 6;
  options.n_ctx = 16;
  options.n_seq = 3;
  options.max_batch = 4;
  return options;
}

Request make_request(std::vector<Token> prompt) {
  Request request;
  request.prompt = std::move(prompt);
  return request;
}

}  // namespace

TEST_CASE("the target refuses what does not fit, and changes nothing") {
  const auto target = make_fake_target(make_options());
  CHECK(begin(*target, make_request({1, 2, 3, 4})) == 0);
  CHECK(target->length(0) == 3);
  const std::vector<Token> path{4, 5};
  const std::vector<Token> long_path{4, 5, 1, 2, 3};
  CHECK_THROWS_AS(static_cast<void>(verify(*target, 2, path)), PreconditionError);
  CHECK_THROWS_AS(static_cast<void>(verify(*target, 4, path)), PreconditionError);
  CHECK_THROWS_AS(static_cast<void>(verify(*target, 3, {})), PreconditionError);
  CHECK_THROWS_AS(static_cast<void>(verify(*target, 3, long_path)), PreconditionError);
  CHECK_THROWS_AS(target->truncate({0, 4, 2}), PreconditionError);
  CHECK_THROWS_AS(target->truncate({0, 2, 1}), PreconditionError);
  CHECK_THROWS_AS(target->truncate({0, 3, 4}), PreconditionError);
  CHECK_THROWS_AS(target->truncate({0, 3, -1}), PreconditionError);
  CHECK_THROWS_AS(target->truncate({1, 0, 0}), PreconditionError);
  CHECK_THROWS_AS(target->truncate({-1, 0, 0}), PreconditionError);
  CHECK(target->length(0) == 3);
  CHECK_FALSE(verify(*target, 3, path).choices.empty());
  CHECK(target->length(0) == 5);  // the whole path, accepted or not
  target->truncate({0, 5, 4});
  CHECK(target->length(0) == 4);
}

TEST_CASE("the context ends") {
  const auto target = make_fake_target(make_options());
  static_cast<void>(begin(*target, make_request(std::vector<Token>(15, 1))));
  const std::vector<Token> two{1, 2};
  const std::vector<Token> three{1, 2, 3};
  CHECK_THROWS_AS(static_cast<void>(verify(*target, 14, three)), PreconditionError);
  CHECK_NOTHROW(static_cast<void>(verify(*target, 14, two)));
}

TEST_CASE("choices stop at the first that differs from the path") {
  const auto target = make_fake_target(make_options());
  const Request request = make_request({1, 2, 3});
  static_cast<void>(begin(*target, request));
  std::vector<Token> text = request.prompt;
  for (int i = 0; i < 3; ++i) {
    const auto scores = fake_scores(make_options(), text, 1.0);
    text.push_back(ScoreRow(scores).largest(1)[0].token);
  }
  std::vector<Token> path(text.begin() + 2, text.end());
  CHECK(verify(*target, 2, path).choices.size() == 4);
  target->truncate({0, 6, 2});
  path[2] = (path[2] + 1) % 6;
  const Verification verification = verify(*target, 2, path);
  REQUIRE(verification.choices.size() == 2);
  CHECK(verification.choices[1].token == text[4]);
}

TEST_CASE("the draft refuses what does not fit, and changes nothing") {
  const auto draft = make_fake_draft(make_options());
  CHECK(begin(*draft, make_request({1, 2, 3, 4})) == 0);
  const auto check_lengths = [&](Pos a, Pos b, Pos c) {
    CHECK(draft->length(0) == a);
    CHECK(draft->length(1) == b);
    CHECK(draft->length(2) == c);
  };
  check_lengths(3, 0, 0);
  const auto refuses = [&](const std::vector<SequenceInput>& inputs) {
    CHECK_THROWS_AS(static_cast<void>(draft->draft(inputs, 2)), PreconditionError);
    check_lengths(3, 0, 0);
  };
  refuses({{0, 0, 2, {4}}});                     // holds more
  refuses({{0, 0, 4, {4}}});                     // holds fewer
  refuses({{0, 0, 3, {}}});                      // nothing to append
  refuses({{0, 3, 0, {4}}});                     // no such sequence
  refuses({{0, 0, 3, {4}}, {1, 0, 3, {5}}});     // one sequence in two sequences
  refuses({{0, 0, 3, {4}}, {1, 1, 1, {5}}});     // the second is wrong: nor is the first done
  refuses({{0, 0, 3, std::vector<Token>(14)}});  // leaves the context
  for (const Fork& fork : {Fork{0, 1, 0, 1, 2},  // `to` does not hold that
                           Fork{0, 1, 1, 0, 2},  // more shared than `to` holds
                           Fork{0, 1, 0, 0, 4},  // more than `from` holds
                           Fork{0, 0, 0, 3, 2},  // onto itself
                           Fork{0, 3, 0, 0, 2},  // no such sequence
                           Fork{0, 1, -1, 0, 2}}) {
    CHECK_THROWS_AS(draft->fork(fork), PreconditionError);
    check_lengths(3, 0, 0);
  }
  draft->fork({0, 1, 0, 0, 2});
  check_lengths(3, 2, 0);
  const std::vector<SequenceInput> inputs{{7, 0, 3, {4}}, {8, 1, 2, {5, 5}}};
  const auto answers = draft->draft(inputs, 2);
  REQUIRE(answers.size() == 2);
  CHECK(answers[0].size() == 2);
  check_lengths(4, 4, 0);
}

TEST_CASE("a begin leaves every sequence what it has in common with the prompt") {
  const auto draft = make_fake_draft(make_options());
  const auto check_lengths = [&](Pos a, Pos b, Pos c) {
    CHECK(draft->length(0) == a);
    CHECK(draft->length(1) == b);
    CHECK(draft->length(2) == c);
  };
  static_cast<void>(begin(*draft, make_request({1, 2, 3, 4})));
  draft->fork({0, 1, 0, 0, 2});
  const std::vector<SequenceInput> inputs{{7, 0, 3, {4}}, {8, 1, 2, {5, 5, 3}}};
  const auto before = draft->draft(inputs, 2);
  check_lengths(4, 5, 0);
  // Sequence 1 has the longest prefix, which sequence 0 takes over.
  CHECK(begin(*draft, make_request({1, 2, 5, 5, 0, 1})) == 4);
  check_lengths(5, 4, 0);
  CHECK(begin(*draft, make_request({1, 2, 3, 4})) == 2);
  check_lengths(3, 2, 0);
  const SequenceInput again{9, 1, 2, {5, 5, 3}};
  CHECK(draft->draft({&again, 1}, 2).at(0).at(0).token == before[1][0].token);
  CHECK(begin(*draft, make_request({3})) == 0);
  check_lengths(0, 0, 0);
}

TEST_CASE("a wrong cell anywhere shows in the scores") {
  const FakeOptions options = make_options();
  const std::vector<Token> text{1, 2, 3, 4, 5, 0, 1};
  const std::vector<float> right = fake_scores(options, text, 1.0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::vector<Token> wrong = text;
    wrong[i] = (wrong[i] + 1) % 6;
    CHECK(fake_scores(options, wrong, 1.0) != right);
    wrong = text;
    wrong.erase(wrong.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK(fake_scores(options, wrong, 1.0) != right);
  }
  CHECK(fake_scores(options, text, 0.5) != right);
}

TEST_CASE("an abort is obeyed and leaves everything as it was") {
  const auto target = make_fake_target(make_options());
  static_cast<void>(begin(*target, make_request({1, 2, 3})));
  target->request_abort();
  const std::vector<Token> path{3};
  CHECK_THROWS_AS(static_cast<void>(verify(*target, 2, path)), Aborted);
  CHECK(target->length(0) == 2);
  target->clear_abort();
  CHECK_NOTHROW(static_cast<void>(verify(*target, 2, path)));
}

TEST_CASE("a target that may choose nothing says so") {
  Scenario scenario;
  scenario.request.prompt = {1, 2};
  scenario.request.max_tokens = 5;
  for (Token token = 0; token < scenario.target.n_vocab; ++token) {
    scenario.request.sampling.logit_bias[token] = -INFINITY;
  }
  for (const Mode mode : kAllModes) {
    const VirtualResult result = run(scenario, mode);
    CHECK(message_of(result.error) == "");
    CHECK(result.tokens.empty());
    CHECK(result.finish == Finish::kStop);
    check_result(result, mode);
  }
}
