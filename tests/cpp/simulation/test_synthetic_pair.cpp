// The pair whose acceptance is a parameter: is it what was asked for, and does it check its KV?
#include <cmath>
#include <limits>

#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

Request request_of(Mode mode, int max_tokens) {
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = max_tokens;
  request.mode = mode;
  request.policy.kind = PolicyOptions::Kind::kFixed;
  return request;
}

VirtualResult run(const SyntheticOptions& options, const Request& request) {
  const auto target = make_synthetic_target(options);
  const auto draft = make_synthetic_draft(options);
  return run_virtually(request, *target, draft.get());
}

/// The text itself, from the target alone.
std::vector<Token> text_of(const SyntheticOptions& options, int n_tokens) {
  return run(options, request_of(Mode::kAutoregressive, n_tokens)).tokens;
}

/// What the draft proposes along the text, one place after the other.
std::vector<std::vector<Candidate>> proposals(const SyntheticOptions& options, int n_tokens) {
  const auto draft = make_synthetic_draft(options);
  Request request = request_of(Mode::kSpeculative, n_tokens);
  begin(*draft, request);
  std::vector<Token> text = text_of(options, n_tokens);
  text.insert(text.begin(), request.prompt.back());
  std::vector<std::vector<Candidate>> all;
  for (int i = 0; i < n_tokens; ++i) {
    const SequenceInput input{i, 0, 2 + i, {text[static_cast<std::size_t>(i)]}};
    all.push_back(draft->draft({&input, 1}, 8).at(0));
  }
  return all;
}

struct Hits {
  double rate[8] = {};      ///< share of the places where that rank was right.
  double expected[8] = {};  ///< mean confidence of that rank.
};

Hits count_hits(const SyntheticOptions& options, int n_tokens) {
  const auto text = text_of(options, n_tokens);
  const auto all = proposals(options, n_tokens);
  Hits hits;
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t rank = 0; rank < all[i].size(); ++rank) {
      if (all[i][rank].token == text[i]) hits.rate[rank] += 1.0 / n_tokens;
      hits.expected[rank] += all[i][rank].confidence / n_tokens;
    }
  }
  return hits;
}

/// Four standard deviations of a share counted over n places.
double bound(double p, int n) { return 4.0 * std::sqrt(p * (1.0 - p) / n) + 1e-9; }

}  // namespace

TEST_CASE("the first candidate is right as often as asked, and every rank as often as it says") {
  const int n = 20000;
  Sweep sweep;
  for (const double alpha : {0.0, 0.2, 0.4, 0.6, 0.75, 0.92, 1.0}) {
    for (const double concentration : {0.5, 2.0, 20.0}) {
      if (sweep.skips()) continue;
      CAPTURE(alpha);
      CAPTURE(concentration);
      SyntheticOptions options = synthetic_pair(alpha, 7);
      options.concentration = concentration;
      const Hits hits = count_hits(options, n);
      CHECK(std::abs(hits.rate[0] - alpha) <= bound(alpha, n));
      for (int rank = 0; rank < 8; ++rank) {
        CHECK(std::abs(hits.rate[rank] - hits.expected[rank]) <= bound(hits.expected[rank], n));
      }
    }
  }
}

TEST_CASE("a confidence bin is right as often as its confidences say") {
  const int n = 40000;
  const SyntheticOptions options = synthetic_pair(0.6, 3);
  const auto text = text_of(options, n);
  const auto all = proposals(options, n);
  double hits[5] = {};
  double expected[5] = {};
  int count[5] = {};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const double q = all[i][0].confidence;
    const auto bin = std::min<std::size_t>(4, static_cast<std::size_t>(q * 5.0));
    ++count[bin];
    expected[bin] += q;
    if (all[i][0].token == text[i]) hits[bin] += 1.0;
  }
  for (std::size_t bin = 0; bin < 5; ++bin) {
    CAPTURE(bin);
    REQUIRE(count[bin] > 500);
    CHECK(std::abs(hits[bin] - expected[bin]) / count[bin] <=
          bound(expected[bin] / count[bin], count[bin]));
  }
}

TEST_CASE("of the misses, later ranks are right in the shares asked for") {
  const int n = 20000;
  SyntheticOptions options = synthetic_pair(0.8);
  options.concentration = 1e6;  // so sure of 0.8 that no rank is cut
  const Hits hits = count_hits(options, n);
  for (std::size_t rank = 1; rank < 8; ++rank) {
    const double wanted = 0.2 * options.rank_hits[rank - 1];
    CHECK(std::abs(hits.rate[rank] - wanted) <= bound(wanted, n));
  }
}

TEST_CASE("candidates differ from each other, best first") {
  for (const auto& candidates : proposals(synthetic_pair(0.3), 500)) {
    REQUIRE(candidates.size() == 8);
    for (std::size_t i = 1; i < candidates.size(); ++i) {
      CHECK(candidates[i - 1].confidence >= candidates[i].confidence);
      for (std::size_t j = 0; j < i; ++j) CHECK(candidates[i].token != candidates[j].token);
    }
  }
}

TEST_CASE("distorted confidences stay in order and no longer mean what they say") {
  SyntheticOptions options = synthetic_pair(0.6);
  const Hits right = count_hits(options, 5000);
  options.distortion = 0.3;
  const Hits under = count_hits(options, 5000);
  CHECK(under.rate[0] == right.rate[0]);  // the same tokens
  CHECK(under.expected[0] < right.expected[0] - 0.03);
}

TEST_CASE("acceptance changes along the text as the segments say") {
  SyntheticOptions options = synthetic_pair(0.5);
  options.segments = {{4000, 0.9}, {4000, 0.2}};
  const auto text = text_of(options, 12000);
  const auto all = proposals(options, 12000);
  double hits[3] = {};
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i][0].token == text[i]) hits[i / 4000] += 1.0 / 4000;
  }
  CHECK(std::abs(hits[0] - 0.9) <= bound(0.9, 4000));
  CHECK(std::abs(hits[1] - 0.2) <= bound(0.2, 4000));
  CHECK(std::abs(hits[2] - 0.2) <= bound(0.2, 4000));  // the last one holds on
}

TEST_CASE("a replay repeats the records, position by position") {
  SyntheticOptions options = synthetic_pair(0.5);
  options.replay = {{{0.9F, 0.05F}, 0}, {{0.4F, 0.3F}, 1}, {{0.6F, 0.2F}, -1}};
  const auto text = text_of(options, 9);
  const auto all = proposals(options, 9);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const DraftRecord& record = options.replay[i % 3];
    REQUIRE(all[i].size() == 2);
    for (std::size_t rank = 0; rank < 2; ++rank) {
      CHECK(all[i][rank].confidence == doctest::Approx(record.confidences[rank]));
      CHECK((all[i][rank].token == text[i]) == (static_cast<int>(rank) == record.hit_rank));
    }
  }
}

TEST_CASE("where a record is not known another one is drawn") {
  SyntheticOptions options = synthetic_pair(0.5);
  options.replay = {{{0.9F}, 0}, {}};
  for (const auto& candidates : proposals(options, 20)) {
    REQUIRE(candidates.size() == 1);
    CHECK(candidates[0].confidence == doctest::Approx(0.9));
  }
}

TEST_CASE("every mode gives the text, whatever is drafted") {
  for (const double alpha : {0.0, 0.5, 1.0}) {
    const SyntheticOptions options = synthetic_pair(alpha);
    const auto text = text_of(options, 300);
    for (const Mode mode : kDraftingModes) {
      CAPTURE(alpha);
      CAPTURE(to_string(mode));
      const VirtualResult result = run(options, request_of(mode, 300));
      CHECK(result.tokens == text);
      CHECK_FALSE(result.error);
      if (alpha == 1.0) CHECK(result.counters.n_rolled_back == 0);
      if (alpha == 0.0) CHECK(result.counters.acceptance_histogram.size() <= 1);
    }
  }
}

TEST_CASE("a draft that begins late is right where the text is") {
  const SyntheticOptions options = synthetic_pair(1.0);
  const auto text = text_of(options, 10);
  const auto draft = make_synthetic_draft(options);
  Request grown = request_of(Mode::kSpeculative, 20);
  grown.prompt.insert(grown.prompt.end(), text.begin(), text.begin() + 5);
  begin(*draft, grown);
  const SequenceInput input{0, 0, 7, {text[4]}};
  CHECK(draft->draft({&input, 1}, 1).at(0).at(0).token == text[5]);
}

TEST_CASE("a wrong branch never leads back to the text") {
  const SyntheticOptions options = synthetic_pair(1.0);
  const auto text = text_of(options, 10);
  const auto draft = make_synthetic_draft(options);
  begin(*draft, request_of(Mode::kSpeculative, 20));
  const Token wrong = (text[0] + 1) % options.n_vocab;
  const SequenceInput input{0, 0, 2, {3, wrong}};
  CHECK(draft->draft({&input, 1}, 1).at(0).at(0).token != text[1]);
  draft->truncate({0, 4, 3});
  const SequenceInput back{1, 0, 3, {text[0]}};
  CHECK(draft->draft({&back, 1}, 1).at(0).at(0).token == text[1]);
}

TEST_CASE("a fork holds what it was made from") {
  const SyntheticOptions options = synthetic_pair(1.0);
  const auto text = text_of(options, 10);
  const auto draft = make_synthetic_draft(options);
  begin(*draft, request_of(Mode::kSpeculative, 20));
  const SequenceInput first{0, 0, 2, {3, text[0]}};
  draft->draft({&first, 1}, 1);
  draft->fork({0, 1, 0, 0, 4});
  const SequenceInput second{1, 1, 4, {text[1]}};
  CHECK(draft->draft({&second, 1}, 1).at(0).at(0).token == text[2]);
}

TEST_CASE("broken preconditions are errors") {
  const SyntheticOptions options = synthetic_pair(0.5);
  const auto target = make_synthetic_target(options);
  const auto draft = make_synthetic_draft(options);
  const Request request = request_of(Mode::kSpeculative, 20);
  begin(*target, request);
  begin(*draft, request);
  const std::vector<Token> path = {3};
  CHECK_THROWS_AS(verify(*target, 1, path, 0), PreconditionError);
  CHECK_THROWS_AS(verify(*target, 2, path, 1000), PreconditionError);
  CHECK_THROWS_AS(target->truncate({0, 5, 1}), PreconditionError);
  const SequenceInput wrong_place{0, 0, 1, {3}};
  CHECK_THROWS_AS(draft->draft({&wrong_place, 1}, 1), PreconditionError);
  const SequenceInput no_sequence{0, options.n_seq, 0, {3}};
  CHECK_THROWS_AS(draft->draft({&no_sequence, 1}, 1), PreconditionError);
  CHECK_THROWS_AS(draft->fork({0, 1, 0, 1, 2}), PreconditionError);
  CHECK(target->length(0) == 2);
  CHECK(draft->length(0) == 2);
}

TEST_CASE("a cell that should not be there changes the target's answer") {
  const SyntheticOptions options = synthetic_pair(0.5);
  const auto target = make_synthetic_target(options);
  begin(*target, request_of(Mode::kSpeculative, 20));
  const std::vector<Token> wrong = {4};
  CHECK(verify(*target, 2, wrong, 0).choices.at(0).token != text_of(options, 1).at(0));
}

TEST_CASE("options out of range are refused") {
  const auto refused = [](auto change) {
    SyntheticOptions options;
    change(options);
    CHECK_THROWS_AS(validate(options), InvalidArgument);
  };
  refused([](auto& o) { o.n_vocab = 8; });
  refused([](auto& o) { o.alpha = 1.1; });
  refused([](auto& o) { o.alpha = std::numeric_limits<double>::quiet_NaN(); });
  refused([](auto& o) { o.segments = {{0, 0.5}}; });
  refused([](auto& o) { o.segments = {{1, 2.0}}; });
  refused([](auto& o) { o.rank_hits = {0.2, 0.3}; });
  refused([](auto& o) { o.rank_hits = {0.6, 0.6}; });
  refused([](auto& o) { o.concentration = 0.0; });
  refused([](auto& o) { o.distortion = -1.0; });
  refused([](auto& o) { o.replay = {{}}; });
  refused([](auto& o) { o.replay = {{{0.5F}, 1}}; });
  refused([](auto& o) { o.replay = {{{1.5F}, 0}}; });
  refused([](auto& o) { o.n_seq = 0; });
  refused([](auto& o) { o.text_begin = 0; });
  CHECK_NOTHROW(validate(SyntheticOptions{}));
}

TEST_CASE("synthetic pair: a recorded text takes the place of the invented one until its end") {
  SyntheticOptions options;
  options.n_vocab = 64;
  options.text_begin = 3;
  options.text = {5, 6, 7, 8, 9};
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 12;
  const auto target = make_synthetic_target(options);
  const auto draft = make_synthetic_draft(options);
  for (const Mode mode : {Mode::kAutoregressive, Mode::kSpeculative, Mode::kAuto}) {
    request.mode = mode;
    const VirtualResult got = run_virtually(request, *target, draft.get());
    REQUIRE(got.tokens.size() == 12);
    CHECK(std::equal(options.text.begin(), options.text.end(), got.tokens.begin()));
  }
  SyntheticOptions invented = options;
  invented.text.clear();
  const auto other = make_synthetic_target(invented);
  const VirtualResult all = run_virtually(request, *other, nullptr);
  const VirtualResult half = run_virtually(request, *target, nullptr);
  CHECK(std::equal(all.tokens.begin() + 5, all.tokens.end(), half.tokens.begin() + 5));
  options.text.push_back(64);
  CHECK_THROWS_AS(make_synthetic_target(options), InvalidArgument);
}
