// The target's features: what is asked, what comes back, and which window they belong to.
#include <algorithm>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "support/engine_support.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

EngineParts fakes(const FakeOptions& target, const FakeOptions& draft) {
  EngineParts parts;
  parts.target = [target] { return make_fake_target(target); };
  parts.draft = [draft] { return make_fake_draft(draft); };
  return parts;
}

Collected generate(Engine& engine, const Request& request) {
  return collect(*engine.generate(request));
}

Request request_in(Mode mode, float temperature, std::uint64_t seed) {
  Request request;
  request.prompt = {1, 2, 3, 4, 5};
  request.max_tokens = 150;
  request.mode = mode;
  request.trace = true;
  request.sampling.temperature = temperature;
  request.sampling.seed = seed;
  return request;
}

}  // namespace

TEST_CASE("a round's features are those of the place where its window begins") {
  FakeOptions target;
  FakeOptions draft;
  draft.alignment = 0.85;
  Engine engine(fakes(target, draft));
  int n_windows = 0;
  int n_hits = 0;
  for (const Mode mode : kLockStepModes) {
    for (const float temperature : {0.0F, 0.8F}) {
      CAPTURE(to_string(mode));
      Request request = request_in(mode, temperature, 11);
      const Collected plain = generate(engine, request);
      request.n_feature_layers = 3;
      const Collected run = generate(engine, request);
      CHECK(run.tokens == plain.tokens);
      REQUIRE(run.end.trace.rounds.size() == plain.end.trace.rounds.size());
      for (const TraceRound& round : plain.end.trace.rounds) CHECK(round.features.empty());

      std::vector<Token> text = request.prompt;
      text.insert(text.end(), run.tokens.begin(), run.tokens.end());
      std::size_t n_known = request.prompt.size();  // tokens committed before the round
      for (std::size_t i = 0; i < run.end.trace.rounds.size(); ++i) {
        CAPTURE(i);
        const TraceRound& round = run.end.trace.rounds[i];
        CHECK(round.pos == static_cast<Pos>(n_known) - 1);
        if (i == 0) {
          CHECK(round.features.empty());
        } else {
          // The last position that a verification had seen is the one before the newest token.
          const std::span<const Token> seen(text.data(), n_known - 1);
          CHECK(round.features == fake_features(target, seen, text[n_known - 1], 3));
          CHECK(round.features[0] == static_cast<float>(round.pos - 1));
        }
        REQUIRE(round.confidence.size() == round.window.size());
        REQUIRE(round.n_submitted <= static_cast<int>(round.window.size()));
        for (const float confidence : round.confidence) {
          CHECK((confidence > 0.0F && confidence <= 1.0F));
        }
        // The window's accepted tokens are those that the text goes on with.
        int n_matched = 0;
        for (; n_matched < round.n_submitted; ++n_matched) {
          const auto at = n_known + static_cast<std::size_t>(n_matched);
          if (at >= text.size() || text[at] != round.window[static_cast<std::size_t>(n_matched)]) {
            break;
          }
        }
        CHECK(n_matched == round.n_accepted);
        n_windows += round.features.empty() || round.window.empty() ? 0 : 1;
        n_hits += round.branch_hit ? 1 : 0;
        n_known += round.committed.size();
      }
      CHECK(n_known == text.size());
    }
  }
  CHECK(n_windows > 60);
  CHECK(n_hits > 20);  // windows that begin on a branch are among them
}

TEST_CASE("features are given only as far as the target has them") {
  FakeOptions target;
  Engine engine(fakes(target, target));
  CHECK(engine.limits().target.n_feature_layers == 6);
  CHECK(engine.limits().target.n_embd == kFakeEmbd);
  Request request = request_in(Mode::kSpecBranch, 0.0F, 1);
  request.n_feature_layers = 7;
  CHECK_THROWS_WITH_AS(engine.generate(request),
                       "n_feature_layers is 7; this target can give at most 6", InvalidArgument);
  request.n_feature_layers = -1;
  CHECK_THROWS_AS(engine.generate(request), InvalidArgument);
  request.n_feature_layers = 6;
  CHECK(generate(engine, request).end.trace.rounds.back().features.size() == 7 * 4);
  // Without a trace nothing is kept, and the text is the same.
  const auto tokens = generate(engine, request).tokens;
  request.trace = false;
  const Collected run = generate(engine, request);
  CHECK(run.tokens == tokens);
  CHECK(run.end.trace.rounds.empty());

  target.n_feature_layers = 0;
  Engine without(fakes(target, target));
  request.n_feature_layers = 1;
  CHECK_THROWS_AS(without.generate(request), InvalidArgument);
  request.n_feature_layers = 0;
  CHECK(generate(without, request).tokens == tokens);
}

TEST_CASE("a verification's features are of its last choice, whatever was padded or accepted") {
  FakeOptions options;
  const auto model = make_fake_target(options);
  Request request = request_in(Mode::kSpecBranch, 0.0F, 1);
  request.n_feature_layers = 2;
  begin(*model, request);
  std::vector<Token> text = request.prompt;
  std::vector<Token> next;  // what the target will choose
  for (int i = 0; i < 6; ++i) {
    const Pos pos = static_cast<Pos>(text.size()) - 1;
    const Verification one = verify(*model, pos, std::span(&text.back(), 1));
    CHECK(one.features == fake_features(options, text, one.choices[0].token, 2));
    next.push_back(one.choices[0].token);
    text.push_back(one.choices[0].token);
  }
  for (std::size_t n_right = 0; n_right < 4; ++n_right) {
    CAPTURE(n_right);
    begin(*model, request);
    std::vector<Token> path{request.prompt.back()};
    path.insert(path.end(), next.begin(), next.begin() + static_cast<std::ptrdiff_t>(n_right));
    path.push_back((next[n_right] + 1) % options.n_vocab);
    const Verification verification = verify(*model, 4, path, /*n_pad=*/2);
    REQUIRE(verification.choices.size() == n_right + 1);
    const std::span<const Token> seen(text.data(), request.prompt.size() + n_right);
    CHECK(verification.features == fake_features(options, seen, next[n_right], 2));
  }
  request.n_feature_layers = 0;
  begin(*model, request);
  CHECK(verify(*model, 4, std::span(&request.prompt.back(), 1)).features.empty());
}
