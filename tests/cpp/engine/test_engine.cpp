// What an engine on real threads gives: the same texts and counters as the virtual clock.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "support/engine_support.h"

using namespace specbranch;
using namespace specbranch::test;
using namespace std::chrono_literals;

namespace {

std::string text_of(const std::vector<Token>& tokens) {
  std::string text;
  for (const Token token : tokens) {
    text += '<';
    text += std::to_string(token);
    text += '>';
  }
  return text;
}

/// A target that counts its open sessions.
class CountingTarget final : public TargetModel {
 public:
  CountingTarget(const FakeOptions& options, std::shared_ptr<std::atomic<int>> n_open)
      : inner_(make_fake_target(options)), n_open_(std::move(n_open)) {}

  Capabilities capabilities() const override { return inner_->capabilities(); }
  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    ++*n_open_;
    return inner_->open(id, request, seqs);
  }
  void prefill(GenerationId id, Pos begin, Pos end) override { inner_->prefill(id, begin, end); }
  void close(GenerationId id, bool forget) override {
    --*n_open_;
    inner_->close(id, forget);
  }
  Pos length(SeqId seq) const override { return inner_->length(seq); }
  void truncate(const Truncate& op) override { inner_->truncate(op); }
  void fork(const Fork& op) override { inner_->fork(op); }
  std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) override {
    CHECK(*n_open_ == 1);
    return inner_->verify(segments, n_pad);
  }

 private:
  std::unique_ptr<TargetModel> inner_;
  std::shared_ptr<std::atomic<int>> n_open_;
};

}  // namespace

TEST_CASE("every generation closes its session, however it ends") {
  const Scenario scenario = make_long_scenario(3);
  const auto n_open = std::make_shared<std::atomic<int>>(0);
  {
    EngineParts parts = make_parts(scenario);
    FakeOptions target = scenario.target;
    target.fail_at_step = 40;
    parts.target = [target, n_open] { return std::make_unique<CountingTarget>(target, n_open); };
    Engine engine(std::move(parts));
    int n_failed = 0;
    for (int i = 0; i < 20; ++i) {
      const auto generation = engine.generate(scenario.request);
      if (i % 3 == 0) generation->cancel();
      if (collect(*generation).end.error) ++n_failed;
    }
    CHECK(n_failed == 1);
  }
  CHECK(*n_open == 0);
}

TEST_CASE("an engine gives the text and the counters of the virtual clock") {
  const int n = scaled(60);
  for (int i = 0; i < n; ++i) {
    Scenario scenario = make_valid_scenario(static_cast<std::uint64_t>(i));
    for (const Mode mode : kAllModes) {
      scenario.request.mode = mode;
      INFO(describe(scenario));
      const VirtualResult expected = run(scenario, mode);
      const Collected got = run_engine(scenario, mode);
      CHECK(message_of(got.end.error) == "");
      CHECK(got.tokens == expected.tokens);
      if (mode != Mode::kAuto) CHECK(got.from_draft == expected.from_draft);
      CHECK(got.end.finish == expected.finish);
      if (mode != Mode::kAuto) CHECK(got.end.stats.counters == expected.counters);
      CHECK(got.end.stats.mode == mode);
      CHECK(got.end.stats.seed == scenario.request.sampling.seed);
      CHECK(got.end.stats.n_prompt == static_cast<std::int64_t>(scenario.request.prompt.size()));
      CHECK(got.text == text_of(expected.tokens));
      check_times(got.end.stats);
    }
  }
}

TEST_CASE("a thousand short generations, one after another") {
  const Scenario scenario = make_valid_scenario(3);
  Engine engine(make_parts(scenario));
  EngineStats sum;
  const int n = scaled(1000);
  for (int i = 0; i < n; ++i) {
    Request request = scenario.request;
    request.sampling.seed = static_cast<std::uint64_t>(i);
    request.sampling.temperature = 1.0F;
    request.max_tokens = i % 4;
    request.mode = kAllModes[i % 5 == 0 ? 0 : 1 + i % 3];
    const Collected got = collect(*engine.generate(request));
    Scenario same = scenario;
    same.request = request;
    const Expected expected = reference(same);
    CAPTURE(i);
    CHECK(got.tokens == expected.tokens);
    const Counters& counters = got.end.stats.counters;
    ++sum.n_generations;
    sum.n_generated += counters.n_generated;
    sum.n_target_steps += counters.n_target_steps;
    sum.n_drafted += counters.n_drafted;
    sum.n_accepted += counters.n_accepted;
    sum.n_rolled_back += counters.n_rolled_back;
  }
  const EngineStats stats = engine.stats();
  CHECK(stats.n_generations == sum.n_generations);
  CHECK(stats.n_generated == sum.n_generated);
  CHECK(stats.n_target_steps == sum.n_target_steps);
  CHECK(stats.n_drafted == sum.n_drafted);
  CHECK(stats.n_accepted == sum.n_accepted);
  CHECK(stats.n_rolled_back == sum.n_rolled_back);
  CHECK(stats.decode_ms >= 0.0);
}

TEST_CASE("what the target has of a prompt is told") {
  Scenario scenario = make_valid_scenario(4);
  scenario.request.prompt = {0, 1, 1, 0, 1};
  Engine engine(make_parts(scenario));
  CHECK(collect(*engine.generate(scenario.request)).end.stats.n_reused == 0);
  CHECK(collect(*engine.generate(scenario.request)).end.stats.n_reused == 4);
  scenario.request.prompt = {0, 1, 0, 0, 1};
  CHECK(collect(*engine.generate(scenario.request)).end.stats.n_reused == 2);
}

TEST_CASE("a stop string ends text and tokens where it is complete") {
  Scenario scenario = make_perfect_scenario(5);
  scenario.request.max_tokens = 24;
  scenario.target.n_ctx = 64;
  scenario.target.end_every = 0;
  scenario.draft = scenario.target;
  scenario.draft.alignment = 1.0;
  const Expected whole = reference(scenario);
  REQUIRE(whole.tokens.size() == 24);
  for (std::size_t at = 1; at + 1 < whole.tokens.size(); ++at) {
    // Begins inside one token and ends inside the next.
    const std::string a = text_of({whole.tokens[at - 1]});
    const std::string b = text_of({whole.tokens[at]});
    const std::string stop = a.substr(1) + b.substr(0, 2);
    const std::string text = text_of(whole.tokens);
    const std::size_t cut = text.find(stop);
    for (const Mode mode : kAllModes) {
      Scenario stopping = scenario;
      stopping.request.stop = {"not there", stop};
      CAPTURE(at);
      CAPTURE(std::string(to_string(mode)));
      const Collected got = run_engine(stopping, mode);
      CHECK(got.end.finish == Finish::kStop);
      CHECK(got.text == text.substr(0, cut));
      // The tokens end with the one that completes the stop string.
      std::size_t n = 1;
      while (
          text_of({whole.tokens.begin(), whole.tokens.begin() + static_cast<int>(n)}).find(stop) ==
          std::string::npos) {
        ++n;
      }
      CHECK(got.tokens.size() == n);
      CHECK(is_prefix(got.tokens, whole.tokens));
      check_counters(got.end.stats.counters, mode, got.end.finish);
    }
  }
}

TEST_CASE("held back text comes with the end when the stop string does not") {
  Scenario scenario = make_perfect_scenario(5);
  scenario.request.max_tokens = 6;
  scenario.target.n_ctx = 64;
  scenario.target.end_every = 0;
  scenario.draft = scenario.target;
  const Expected whole = reference(scenario);
  const std::string text = text_of(whole.tokens);
  scenario.request.stop = {text + "!"};
  const Collected got = run_engine(scenario, Mode::kSpecBranch);
  CHECK(got.end.finish == Finish::kLength);
  CHECK(got.end.tail == text);
  CHECK(got.text == text);
}

TEST_CASE("logprobs come with every token and are the raw target's") {
  Scenario scenario = make_valid_scenario(12);
  scenario.request.max_tokens = 10;
  scenario.target.end_every = 0;
  scenario.request.logprobs = 3;
  scenario.target.n_vocab = scenario.draft.n_vocab = 8;
  for (Token& token : scenario.request.prompt) token %= 8;
  scenario.request.sampling.logit_bias.clear();
  for (const Mode mode : kAllModes) {
    const Collected got = run_engine(scenario, mode);
    std::vector<Token> text = scenario.request.prompt;
    for (const Choice& choice : got.choices) {
      const std::vector<float> raw = fake_scores(scenario.target, text, 1.0);
      CHECK(static_cast<double>(choice.logprob) ==
            doctest::Approx(log_softmax_at(raw, choice.token)));
      REQUIRE(choice.top.size() == 3);
      const std::vector<Scored> best = ScoreRow(raw).largest(3);
      for (std::size_t i = 0; i < 3; ++i) CHECK(choice.top[i].token == best[i].token);
      text.push_back(choice.token);
    }
  }
}

TEST_CASE("a draft whose context is shorter than the prompt drafts on") {
  Scenario scenario = make_valid_scenario(2);
  scenario.request.prompt = {1, 0, 1, 0};
  scenario.request.max_tokens = 5;
  scenario.target.end_every = 0;
  scenario.draft.n_vocab = scenario.target.n_vocab;
  scenario.draft.n_ctx = 4;
  Collected got = run_engine(scenario, Mode::kSpecBranch);
  CHECK(got.end.stats.mode_reason.empty());
  CHECK(got.end.stats.counters.n_draft_steps > 0);
  CHECK(got.tokens == reference(scenario).tokens);
}

TEST_CASE("a text with tokens that the draft lacks is drafted on") {
  for (int i = 0; i < scaled(100); ++i) {
    Scenario scenario = make_long_scenario(static_cast<std::uint64_t>(i));
    scenario.target.n_vocab = 12;
    scenario.draft.n_vocab = 8;
    scenario.draft.n_seq = 9;
    scenario.request.prompt = {3, 11, 8, 2};
    scenario.request.sampling.logit_bias.clear();
    scenario.request.max_branches = 4;
    scenario.target.max_batch = 64;
    scenario.draft.prefill_chunk = 1 + i % 3;
    const Expected expected = reference(scenario);
    for (const Mode mode : kDraftingModes) {
      INFO(describe(scenario));
      CAPTURE(to_string(mode));
      PairProfile profile = flat_profile();
      scenario.request.mode = mode;
      const VirtualResult got =
          run(scenario, mode, shuffled(scenario.seed),
              mode == Mode::kAuto ? make_eager_auto(scenario.request, &profile) : nullptr);
      CHECK(got.tokens == expected.tokens);
      CHECK(message_of(got.draft_error) == "");
      // Every verification follows a pass at least.
      if (mode != Mode::kAuto) CHECK(got.mode_reason == "");
      CHECK(got.counters.n_draft_steps >= got.counters.n_target_steps / 2);
    }
  }
}
