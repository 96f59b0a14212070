// Sessions of a model: what one keeps does not depend on the others beside it.
#include <algorithm>
#include <memory>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/engine/sequence_pool.h"
#include "specbranch/model/prompt_reader.h"
#include "specbranch/model/single_session.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// One text that a target writes, with drafted tokens that are right or wrong.
class Text {
 public:
  Text(GenerationId id, SeqId seq, std::uint64_t seed)
      : id_(id), seq_(seq), random_(seed), request_(std::make_shared<Request>()) {
    for (int n = random_.between(1, 6); n > 0; --n) {
      request_->prompt.push_back(random_.between(0, 11));
    }
    request_->sampling.temperature = random_.pick({0.0F, 0.7F, 1.5F});
    request_->sampling.seed = random_.next();
    request_->logprobs = random_.pick({-1, 0, 2});
    request_->n_feature_layers = random_.pick({0, 1, 3});
    tokens = request_->prompt;
  }

  void begin(TargetModel& target) { specbranch::begin(target, id_, request_, std::span(&seq_, 1)); }

  /// The next verification: up to two committed tokens are decoded again.
  Segment segment(TargetModel& target) {
    const auto n_text = static_cast<Pos>(tokens.size());
    Pos pos = n_text - 1;
    for (int n = random_.between(0, 2); n > 0 && pos > 0; --n) --pos;
    if (target.length(seq_) > pos) target.truncate({seq_, target.length(seq_), pos});
    pos = target.length(seq_);
    Segment segment{id_, seq_, pos, {}};
    for (; pos < n_text - 1; ++pos) {
      segment.rows.push_back({tokens[static_cast<std::size_t>(pos)], false});
    }
    segment.rows.push_back({tokens.back()});
    for (int n = random_.between(0, 3); n > 0; --n) {
      segment.rows.push_back({random_.between(0, 11)});
    }
    return segment;
  }

  void take(const SegmentResult& result) {
    REQUIRE(result.generation_id == id_);
    REQUIRE(!result.error);
    for (const Choice& choice : result.verification.choices) {
      tokens.push_back(choice.token);
      logprobs.push_back(choice.logprob);
      CHECK(choice.top.size() == static_cast<std::size_t>(std::max(0, request_->logprobs)));
    }
    const auto n_layers = static_cast<std::size_t>(request_->n_feature_layers);
    CHECK(result.verification.features.size() == (n_layers > 0 ? (n_layers + 1) * kFakeEmbd : 0));
    if (n_layers > 0) {
      // The position before the last choice.
      CHECK(result.verification.features[0] == static_cast<float>(tokens.size() - 2));
    }
  }

  std::vector<Token> tokens;
  std::vector<float> logprobs;

  Scenario alone(const FakeOptions& options) const {
    Scenario scenario;
    scenario.request = *request_;
    scenario.request.max_tokens = static_cast<int>(tokens.size() - request_->prompt.size());
    scenario.target = options;
    return scenario;
  }
  std::vector<Token> generated() const {
    return {tokens.begin() + static_cast<std::ptrdiff_t>(request_->prompt.size()), tokens.end()};
  }
  GenerationId id() const { return id_; }
  SeqId seq() const { return seq_; }

 private:
  GenerationId id_;
  SeqId seq_;
  Random random_;
  std::shared_ptr<Request> request_;
};

FakeOptions many_sessions() {
  FakeOptions options;
  options.n_vocab = 12;
  options.n_target_seq = 4;
  options.prefill_chunk = 2;
  return options;
}

}  // namespace

TEST_CASE("sessions in one batch give the texts that each gives alone") {
  const FakeOptions options = many_sessions();
  for (int i = 0; i < scaled(100); ++i) {
    CAPTURE(i);
    Random random(static_cast<std::uint64_t>(i));
    const auto target = make_fake_target(options);
    std::vector<Text> texts;
    GenerationId next_id = 1;
    std::vector<SeqId> free{0, 1, 2, 3};
    for (int round = 0; round < 30; ++round) {
      if (!free.empty() && random.chance(0.5)) {
        texts.emplace_back(next_id++, free.back(), random.next());
        free.pop_back();
        texts.back().begin(*target);
      }
      std::vector<Segment> segments;
      std::vector<Text*> sent;
      for (Text& text : texts) {
        if (random.chance(0.3)) continue;
        segments.push_back(text.segment(*target));
        sent.push_back(&text);
      }
      if (segments.empty()) continue;
      const auto results = target->verify(segments, random.between(0, 2));
      REQUIRE(results.size() == sent.size());
      for (std::size_t k = 0; k < sent.size(); ++k) sent[k]->take(results[k]);
      if (random.chance(0.2)) {
        Text& done = texts.front();
        CHECK(done.generated() == reference(done.alone(options)).tokens);
        target->close(done.id(), random.chance(0.5));
        free.push_back(done.seq());
        texts.erase(texts.begin());
      }
    }
    for (const Text& text : texts) {
      CHECK(text.generated() == reference(text.alone(options)).tokens);
    }
  }
}

TEST_CASE("a target refuses segments that are not of its sessions") {
  const auto target = make_fake_target(many_sessions());
  auto request = std::make_shared<Request>();
  request->prompt = {1, 2, 3};
  const SeqId seqs[] = {0, 1, 4};
  CHECK_THROWS_AS(target->open(1, request, std::span(seqs, 2)), PreconditionError);
  CHECK_THROWS_AS(target->open(1, request, std::span(seqs, 0)), PreconditionError);
  CHECK_THROWS_AS(target->open(1, request, std::span(seqs + 2, 1)), PreconditionError);
  CHECK_THROWS_AS(target->prefill(7, 0, 2), PreconditionError);
  target->open(1, request, std::span(seqs, 1));
  target->open(2, request, std::span(seqs + 1, 1));
  for (const auto& [begin, end] : {std::pair<Pos, Pos>{1, 2}, {0, 1}, {0, 3}, {0, 0}, {2, 2}}) {
    CHECK_THROWS_AS(target->prefill(1, begin, end), PreconditionError);
  }
  target->prefill(1, 0, 2);
  target->prefill(2, 0, 2);
  const std::vector<Token> path{3, 4};
  const auto refuses = [&](const std::vector<Segment>& segments, int n_pad = 0) {
    CHECK_THROWS_AS(static_cast<void>(target->verify(segments, n_pad)), PreconditionError);
    CHECK(target->length(0) == 2);
    CHECK(target->length(1) == 2);
  };
  refuses({});
  refuses({path_segment(3, 0, 2, path)});                               // no such session
  refuses({path_segment(1, 1, 2, path)});                               // another's sequence
  refuses({path_segment(1, 0, 2, path), path_segment(1, 0, 2, path)});  // twice
  refuses({path_segment(1, 0, 2, path), path_segment(2, 1, 1, path)});  // the second is wrong
  refuses({path_segment(1, 0, 2, path)}, 63);                           // too long a batch
  refuses({path_segment(1, 0, 2, path)}, -1);
  refuses({Segment{1, 0, 2, {{3, false}}}});             // nothing is wanted
  refuses({Segment{1, 0, 2, {{3, true}, {4, false}}}});  // unwanted after wanted
  CHECK(target
            ->verify(std::vector<Segment>{path_segment(1, 0, 2, path), path_segment(2, 1, 2, path)},
                     1)
            .size() == 2);
}

TEST_CASE("a closed session leaves its cells, unless it must forget them") {
  for (const bool forget : {false, true}) {
    const auto target = make_fake_target(many_sessions());
    const auto draft = make_fake_draft({});
    Request request;
    request.prompt = {1, 2, 3, 4};
    begin(*target, request);
    begin(*draft, request);
    draft->fork({0, 2, 0, 0, 2});
    const std::vector<Token> path{4};
    static_cast<void>(verify(*target, 3, path));
    for (int again = 0; again < 2; ++again) {
      target->close(kSingleSession, forget);
      draft->close(kSingleSession, forget);
      CHECK(target->length(0) == (forget ? 0 : 4));
      CHECK(draft->length(0) == (forget ? 0 : 3));
      CHECK(draft->length(2) == (forget ? 0 : 2));
    }
    const Pos held = target->length(0);
    CHECK_THROWS_AS(static_cast<void>(verify(*target, held, path)), PreconditionError);
    const SequenceInput input{7, 0, draft->length(0), {4}};
    CHECK_THROWS_AS(static_cast<void>(draft->draft({&input, 1}, 1)), PreconditionError);
    CHECK(begin(*target, request) == (forget ? 0 : 3));
    CHECK(begin(*draft, request) == (forget ? 0 : 3));
  }
}

TEST_CASE("a prompt is read in chunks that end at multiples of their size") {
  for (const Pos held : {0, 1, 7, 8, 9, 20}) {
    for (const Pos end : {0, 1, 8, 20, 21}) {
      if (held > end) continue;
      CAPTURE(held);
      CAPTURE(end);
      PromptReader reader(held, end, 8);
      Pos at = held;
      while (const auto chunk = reader.next()) {
        CHECK(chunk->begin == at);
        CHECK(chunk->end > at);
        CHECK((chunk->end % 8 == 0 || chunk->end == end));
        CHECK(chunk->begin / 8 == (chunk->end - 1) / 8);
        at = chunk->end;
        reader.read(at);
      }
      CHECK(at == end);
    }
  }
  CHECK_FALSE(PromptReader().next());
}

TEST_CASE("a pool hands out the sequence that has been free for the longest time") {
  SequencePool pool(3);
  CHECK(pool.take() == 0);
  CHECK(pool.take() == 1);
  pool.give_back(0);
  CHECK(pool.take() == 2);
  CHECK(pool.take() == 0);
  CHECK(pool.empty());
  pool.give_back(2);
  pool.give_back(1);
  CHECK(pool.take() == 2);
  CHECK_FALSE(pool.empty());
}

TEST_CASE("a pool of adjacent sequences hands out one beside those that are taken") {
  SequencePool pool(4, /*adjacent=*/true);
  for (SeqId seq = 0; seq < 4; ++seq) CHECK(pool.take() == seq);
  for (const SeqId seq : {0, 1, 3}) pool.give_back(seq);
  CHECK(pool.take() == 1);  // beside 2, and older than 3
  CHECK(pool.take() == 0);
  pool.give_back(2);
  pool.give_back(0);
  const std::vector<Token> text(100, 5);
  CHECK(pool.take(text) == 2);
  pool.give_back(1);
  pool.give_back(2, text);
  CHECK(pool.take(text) == 2);  // its cells are worth more
  pool.give_back(2);
  CHECK(pool.take() == 3);  // nothing is taken: the oldest text goes
}

TEST_CASE("a prompt gets the sequence with the longest part of it, if that is worth it") {
  SequencePool pool(3);
  const std::vector<Token> one(100, 1);
  std::vector<Token> longer = one;
  longer.resize(140, 2);
  for (SeqId seq = 0; seq < 3; ++seq) CHECK(pool.take() == seq);
  pool.give_back(1, std::vector<Token>(200, 9));
  pool.give_back(2, one);
  pool.give_back(0, longer);
  CHECK(pool.take(one) == 2);  // as long a part of it as in 0, and older
  CHECK(pool.take(longer) == 0);
  pool.give_back(2, one);
  pool.give_back(0, longer);
  std::vector<Token> other(SequencePool::kLeastCommon - 1, 1);
  other.resize(150, 7);
  CHECK(pool.take(other) == 1);  // too little in common: the oldest text goes
  CHECK(pool.take(std::vector<Token>(SequencePool::kLeastCommon + 20, 1)) == 2);
}

TEST_CASE("a new conversation with the same system prompt leaves a long one its cells") {
  SequencePool pool(3);
  for (SeqId seq = 0; seq < 3; ++seq) CHECK(pool.take() == seq);
  std::vector<Token> conversation(100, 1);  // the system prompt
  conversation.resize(300, 2);
  pool.give_back(1, std::vector<Token>(50, 9));
  pool.give_back(2, conversation);
  pool.give_back(0, std::vector<Token>(60, 1));
  std::vector<Token> other(100, 1);
  other.resize(150, 7);
  CHECK(pool.take(other) == 0);  // of this text nothing is lost
  CHECK(pool.take(other) == 1);  // the oldest
  pool.give_back(0, other);
  conversation.resize(140);
  CHECK(pool.take(conversation) == 0);
  conversation.resize(310, 2);
  CHECK(pool.take(conversation) == 2);
}

TEST_CASE("a text with other adapters leaves the cells of a sequence alone, if it can") {
  SequencePool pool(2);
  const std::vector<Token> text(100, 1);
  const AdapterSet set{{0, 1.0F}};
  CHECK(pool.take(text, set) == 0);
  pool.give_back(0, text, set);
  CHECK(pool.take(text) == 1);
  pool.give_back(1, text);
  for (int turn = 0; turn < 2; ++turn) {
    CHECK(pool.take(text, set) == 0);
    pool.give_back(0, text, set);
    CHECK(pool.take(text) == 1);
    pool.give_back(1, text);
  }
}

TEST_CASE("a sequence that was not used keeps its text and its place") {
  SequencePool pool(3);
  const std::vector<Token> first(100, 1);
  const std::vector<Token> second(100, 2);
  for (SeqId seq = 0; seq < 3; ++seq) CHECK(pool.take() == seq);
  pool.give_back(1, first);
  pool.give_back(2, second);
  pool.give_back(0);
  CHECK(pool.take() == 1);  // the oldest
  pool.give_back_unused(1);
  CHECK(pool.take(second) == 2);
  pool.give_back_unused(2);
  CHECK(pool.take() == 1);
  CHECK(pool.take() == 2);
  pool.give_back_unused(1);
  pool.give_back_unused(2);
  CHECK(pool.take(first) == 1);
}
