// Verifications with branches on llama.cpp: the same tokens and bits as single tokens.
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/target_text.h"
#include "specbranch/llama/models/draft.h"
#include "specbranch/llama/models/target.h"
#include "specbranch/model/row_tree.h"
#include "specbranch/model/single_session.h"
#include "specbranch/planner/auto/auto_planner.h"
#include "specbranch/simulation/virtual_run.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

SegmentResult verify_rows(LlamaTarget& target, const Segment& segment) {
  std::vector<SegmentResult> results = target.verify(std::span(&segment, 1), 0);
  REQUIRE(results.size() == 1);
  REQUIRE_FALSE(results.front().error);
  return std::move(results.front());
}

void carry_out(LlamaTarget& target, const VerifyCommand& command) {
  for (const KvOp& op : command.ops) target.truncate(std::get<Truncate>(op));
}

/// Writes a text by verifications that are trees around it: the path is wrong from a random place
/// on, and the branches are right, or wrong, or leave each other.
class TreeWriter {
 public:
  TreeWriter(LlamaTarget& target, const Request& request, const std::vector<Token>& truth,
             unsigned seed)
      : target_(target),
        request_(request),
        truth_(truth),
        random_(seed),
        n_vocab_(target.capabilities().n_vocab),
        held_(target.capabilities(), 0),
        text_(request.prompt) {
    begin(target_, request_);
    held_.open(std::vector<Pos>{target_.length(0)}, root());
  }

  /// One verification. False: the text ended.
  bool step() {
    const std::vector<Row> rows = draw();
    const VerifyCommand command = held_.verify(kSingleSession, root(), text_, rows);
    carry_out(target_, command);
    const Segment& segment = command.segments.front();
    n_again_ += static_cast<int>(segment.rows.size() - rows.size());
    const SegmentResult result = verify_rows(target_, segment);
    CHECK(target_.length(0) ==
          segment.pos + static_cast<Pos>(path_length(std::span(segment.rows))));
    const std::vector<Choice>& choices = result.verification.choices;
    if (choices.empty()) return false;
    std::size_t at = 0;
    Pos kept = root() + 1;
    const std::size_t n_path = path_length(rows);
    const auto n_replayed = segment.rows.size() - rows.size();
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (on_row) on_row(text_.size(), target_.logits(static_cast<int>(n_replayed + at)));
      text_.push_back(choices[i].token);
      if (choices[i].end) return false;
      const auto next = row_after(rows, at, choices[i].token);
      if (!next) {
        REQUIRE(i + 1 == choices.size());
        break;
      }
      at = *next;
      if (at < n_path) ++kept;
      if (at >= n_path) ++n_on_branches_;
    }
    held_.keep(kept);
    return true;
  }

  std::vector<Token> written() const {
    return {text_.begin() + static_cast<std::ptrdiff_t>(request_.prompt.size()), text_.end()};
  }
  int n_again() const { return n_again_; }
  int n_on_branches() const { return n_on_branches_; }

  /// Sees the row of logits after the first `n` tokens of the text.
  std::function<void(std::size_t n, std::span<const float> logits)> on_row;

 private:
  Pos root() const { return static_cast<Pos>(text_.size()) - 1; }

  Token right(std::size_t depth) const {
    const std::size_t i = text_.size() - request_.prompt.size() + depth;
    return i < truth_.size() ? truth_[i] : 0;
  }
  Token wrong(std::size_t depth) {
    return (right(depth) + 1 + static_cast<Token>(random_() % 99U)) % n_vocab_;
  }

  std::vector<Row> draw() {
    std::vector<Row> rows{{text_.back()}};
    const std::size_t n_right = random_() % 3U;  // of the path
    const std::size_t n_path = n_right + random_() % 3U;
    for (std::size_t i = 0; i < n_path; ++i) {
      rows.push_back({i < n_right ? right(i) : wrong(i)});
    }
    const int n_branches = static_cast<int>(random_() % 4U);
    for (int branch = 0; branch < n_branches; ++branch) {
      const std::size_t parent = random_() % rows.size();
      const auto depth = static_cast<std::size_t>(row_depths(rows)[parent]);
      // Right only after a row that is right itself: nearly always after the path's.
      const Token token = random_() % 4U > 0 ? right(depth) : wrong(depth);
      if (row_after(rows, parent, token)) continue;
      rows.push_back({token, true, static_cast<int>(parent)});
      for (std::size_t more = random_() % 3U; more > 0; --more) {
        rows.push_back({right(static_cast<std::size_t>(row_depths(rows).back()))});
      }
    }
    REQUIRE(fault_of(rows) == "");
    return rows;
  }

  LlamaTarget& target_;
  Request request_;
  std::vector<Token> truth_;
  std::mt19937 random_;
  Token n_vocab_;
  TargetText held_;
  std::vector<Token> text_;
  int n_again_ = 0;
  int n_on_branches_ = 0;
};

TEST_CASE("branches: verifying trees gives the tokens and the bits of decoding one by one") {
  SPECBRANCH_NEEDS_MODELS();
  constexpr std::size_t kTokens = 120;
  LlamaTarget plain(target_weights(), small_options(target_path()), {});
  LlamaTarget target(target_weights(), small_options(target_path()), {.max_branches = 4});
  CHECK(plain.capabilities().n_branches == 0);
  CHECK(target.capabilities().n_branches == 4);
  std::vector<SamplingOptions> settings(3);
  settings[1].temperature = 1.0F;
  settings[1].seed = 3;
  settings[2].temperature = 0.8F;
  settings[2].repeat_penalty = 1.2F;
  settings[2].grammar = "root ::= [a-z_ (),:\\n]+";
  int n_again = 0;
  int n_on_branches = 0;
  for (std::size_t i = 0; i < settings.size(); ++i) {
    CAPTURE(i);
    const Request request = request_of(code_prompt(150), settings[i]);
    // Token by token, with the rows of logits.
    begin(plain, request);
    std::vector<Token> truth;
    std::vector<std::vector<float>> rows;
    Token last = request.prompt.back();
    while (truth.size() < kTokens) {
      const Verification one = verify(plain, plain.length(0), std::span(&last, 1));
      if (one.choices.empty()) break;
      const std::span<const float> row = plain.logits(0);
      rows.emplace_back(row.begin(), row.end());
      truth.push_back(last = one.choices.front().token);
      if (one.choices.front().end) break;
    }
    REQUIRE(truth.size() > 10);
    for (unsigned seed = 0; seed < 3; ++seed) {
      CAPTURE(seed);
      TreeWriter writer(target, request, truth, seed);
      int n_different = 0;
      writer.on_row = [&](std::size_t n, std::span<const float> row) {
        const std::size_t at = n - request.prompt.size();
        if (at >= rows.size()) return;
        n_different += std::equal(row.begin(), row.end(), rows[at].begin()) ? 0 : 1;
      };
      while (writer.written().size() < truth.size() && writer.step()) {
      }
      const std::vector<Token> written = writer.written();
      const std::size_t n = std::min(written.size(), truth.size());
      CHECK(std::equal(truth.begin(), truth.begin() + static_cast<std::ptrdiff_t>(n),
                       written.begin()));
      CHECK(n_different == 0);
      n_again += writer.n_again();
      n_on_branches += writer.n_on_branches();
    }
  }
  CHECK(n_again > 50);
  CHECK(n_on_branches > 50);
}

TEST_CASE(
    "branches: a pair on a machine where rows cost nothing writes the text of plain decoding") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()),
                     {.max_batch = 20, .max_branches = kMostBranches});
  DraftOptions draft_options;
  draft_options.n_seq = 10;
  LlamaDraft draft(draft_weights(), small_options(draft_path()), draft_options);
  int n_trees = 0;
  int n_again = 0;
  for (unsigned i = 0; i < 6; ++i) {
    CAPTURE(i);
    SamplingOptions sampling;
    sampling.temperature = i % 2 == 0 ? 0.0F : 0.9F;
    sampling.seed = i;
    Request request = request_of(code_prompt(60 + 17 * static_cast<int>(i)), sampling);
    request.max_tokens = 100;
    request.mode = Mode::kAutoregressive;
    const VirtualResult plain = run_virtually(request, target, nullptr);
    REQUIRE_FALSE(plain.error);

    request.mode = Mode::kAuto;
    request.max_draft = 8;
    PairProfile profile;
    profile.costs.target_us.assign(32, 1000.0);
    profile.costs.draft_us.assign(32, 100.0);
    AutoBounds bounds = auto_bounds(request);
    bounds.switching = false;
    VirtualOptions options;
    options.tamper_command = [&](const Command& command) {
      const auto* verify = std::get_if<VerifyCommand>(&command.body);
      if (verify == nullptr) return;
      n_trees += has_branches(verify->segments.front().rows) ? 1 : 0;
      n_again += verify->segments.front().rows.front().wanted ? 0 : 1;
    };
    const VirtualResult got =
        run_virtually(request, target, &draft, options,
                      std::make_unique<AutoPlanner>(bounds, sampling.temperature, &profile));
    REQUIRE_FALSE(got.error);
    CHECK(got.tokens == plain.tokens);
    CHECK(got.finish == plain.finish);
  }
  CHECK(n_trees > 20);
  CHECK(n_again > 5);
}

TEST_CASE("branches: what does not fit is refused and changes nothing") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  options.n_ctx = 256;
  LlamaTarget target(target_weights(), options, {.n_seq = 2, .max_branches = 2});
  CHECK(target.capabilities().n_branches == 2);
  const auto prompt = code_prompt(250);
  const auto request = std::make_shared<const Request>(request_of(prompt));
  const SeqId zero = 0;
  const SeqId one = 1;
  begin(target, 1, request, std::span(&zero, 1));
  begin(target, 2, request, std::span(&one, 1));
  const auto refuse = [&](const std::vector<Segment>& segments) {
    CHECK_THROWS_AS(static_cast<void>(target.verify(segments, 0)), PreconditionError);
    CHECK(target.length(0) == 249);
    CHECK(target.length(1) == 249);
  };
  const Token last = prompt.back();
  refuse({{1, 0, 249, {{last}, {5}, {6, true, 0}, {7, true, 0}, {8, true, 0}}}});
  refuse({{1, 0, 249, {{last}, {5}, {5, true, 0}}}});
  refuse({{1, 0, 249, {{last}, {5}, {6, true, 2}}}});
  refuse({{1, 0, 249, {{last}, {5}, {6, true, 0}}}, {2, 1, 249, {{last}}}});
  std::vector<Row> deep{{last}, {4}, {5, true, 0}};
  for (int i = 0; i < 6; ++i) deep.push_back({5});
  refuse({{1, 0, 249, deep}});
  deep.pop_back();
  deep.pop_back();
  const std::vector<Segment> fits{{1, 0, 249, deep}};
  CHECK(target.verify(fits, 0).size() == 1);
  CHECK(target.length(0) == 251);
}

TEST_CASE("branches: their cells go with the session") {
  SPECBRANCH_NEEDS_MODELS();
  auto options = small_options(target_path());
  options.n_ctx = 512;
  LlamaTarget target(target_weights(), options, {.max_batch = 16, .max_branches = 4});
  const auto prompt = code_prompt(1000);
  // Each text fills the cache nearly to its end; cells that stayed would leave no room for the
  // next.
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    const std::vector<Token> own(prompt.begin() + 100 * i, prompt.begin() + 100 * i + 490);
    begin(target, request_of(own));
    const std::vector<Row> rows{{own.back()}, {4}, {5, true, 0}, {6, true, 0}, {7, true, 1}};
    static_cast<void>(verify_rows(target, {kSingleSession, 0, 489, rows}));
  }
}

TEST_CASE("branches: an abort leaves the state as it was") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {.max_branches = 4});
  const Request request = request_of(code_prompt(140));
  const auto truth = generate(target, request, 20);
  begin(target, request);
  const Pos before = target.length(0);
  const Token wrong = truth[0] + 1;
  const std::vector<Row> rows{{request.prompt.back()},
                              {wrong},
                              {truth[0], true, 0},
                              {truth[1]},
                              {truth[2]},
                              {truth[0] + 2, true, 0},
                              {truth[1] + 1, true, 2}};
  const Segment segment{kSingleSession, 0, before, rows};
  target.request_abort();
  CHECK_THROWS_AS(static_cast<void>(target.verify(std::span(&segment, 1), 0)), Aborted);
  CHECK(target.length(0) == before);
  target.clear_abort();
  const SegmentResult result = verify_rows(target, segment);
  REQUIRE(result.verification.choices.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(result.verification.choices[i].token == truth[i]);
  CHECK(target.length(0) == before + 2);
}

TEST_CASE("branches: a context refuses to share cells of different texts") {
  SPECBRANCH_NEEDS_MODELS();
  const std::atomic<bool> abort{false};
  LlamaContext context(target_weights(), small_options(target_path()), {4, 256, 4}, &abort);
  const std::vector<BatchToken> texts = {{1, 0, 0, true}, {2, 1, 0, true}};
  context.decode(texts);
  const std::vector<SeqId> other{1};
  const std::vector<SeqId> itself{0};
  const std::vector<SeqId> twice{2, 2};
  const std::vector<SeqId> unknown{4};
  const auto refuse = [&](const std::vector<BatchToken>& batch) {
    CHECK_THROWS_AS(context.decode(batch), PreconditionError);
    CHECK(context.length(0) == 1);
    CHECK(context.length(2) == 0);
  };
  refuse({{3, 0, 1, true, other}});
  refuse({{3, 0, 1, true, itself}});
  refuse({{3, 0, 1, true, unknown}});
  context.fork({0, 2, 0, 0, 1});
  const std::vector<SeqId> copy{2};
  CHECK_THROWS_AS(context.decode(std::vector<BatchToken>{{3, 0, 1, true, twice}}),
                  PreconditionError);
  // They part within the batch, and must not meet again.
  CHECK_THROWS_AS(context.decode(std::vector<BatchToken>{
                      {3, 0, 1, true}, {4, 2, 1, true}, {5, 0, 2, true, copy}}),
                  PreconditionError);
  context.decode(std::vector<BatchToken>{{3, 0, 1, true, copy}, {4, 0, 2, true}, {5, 2, 2, true}});
  CHECK(context.length(0) == 3);
  CHECK(context.length(2) == 3);
  CHECK(context.content(2)[2] == 5);
}

}  // namespace
}  // namespace specbranch::llama
