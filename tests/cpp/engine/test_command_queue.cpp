// What several generations ask of one model becomes one batch, and its answer one for each.
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/engine/command_queue.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr GenerationId kGroup = 7;

Command verify(GenerationId id, int n_rows, int n_pad = 0) {
  VerifyCommand body;
  body.ops.emplace_back(Truncate{static_cast<SeqId>(id), 9, 7});
  body.segments.push_back(path_segment(id, static_cast<SeqId>(id), 7,
                                       std::vector<Token>(static_cast<std::size_t>(n_rows), 3)));
  body.n_pad = n_pad;
  return {id, std::move(body)};
}

Command draft(GenerationId id, int n_inputs, int k) {
  DraftCommand body;
  body.rank = k;
  for (int i = 0; i < n_inputs; ++i) {
    SequenceInput input;
    input.node = static_cast<NodeId>(10 * id) + i;
    input.seq = static_cast<SeqId>(2 * id) + i;
    input.tokens = {1};
    input.generation_id = id;
    body.inputs.push_back(std::move(input));
  }
  return {id, std::move(body)};
}

Command chunk(GenerationId id) { return {id, PrefillCommand{0, 5}}; }

Event answered(const Command& command, decltype(Event::body) body) {
  Event event;
  event.generation_id = command.generation_id;
  event.body = std::move(body);
  event.begin_us = 100;
  event.end_us = 300;
  event.ops_us = 5;
  return event;
}

VerifyDone results(const Command& command) {
  VerifyDone done;
  for (const Segment& segment : std::get<VerifyCommand>(command.body).segments) {
    done.results.push_back({segment.generation_id, {}, nullptr, 0});
  }
  return done;
}

std::vector<GenerationId> ids(const std::vector<Event>& events) {
  std::vector<GenerationId> found;
  for (const Event& event : events) found.push_back(event.generation_id);
  return found;
}

using Ids = std::vector<GenerationId>;

}  // namespace

TEST_CASE("one command goes as it is, and its answer too") {
  CommandQueue queue(ModelRole::kTarget, 64);
  CHECK_FALSE(queue.next().has_value());
  queue.add(verify(4, 3, 2), kGroup);
  const auto sent = queue.next();
  REQUIRE(sent.has_value());
  CHECK(sent->generation_id == 4);
  CHECK(std::get<VerifyCommand>(sent->body).n_pad == 2);
  CHECK_FALSE(queue.next().has_value());
  Event other = answered(*sent, CloseDone{});
  other.generation_id = 3;  // the end of an earlier session
  CHECK(queue.answer(other).empty());
  CHECK_FALSE(queue.next().has_value());
  const auto events = queue.answer(answered(*sent, results(*sent)));
  CHECK(ids(events) == Ids{4});
  CHECK(events.front().n_batch_tokens == 0);
}

TEST_CASE("a verification with branches goes alone") {
  CommandQueue queue(ModelRole::kTarget, 64);
  queue.add(verify(1, 2), kGroup);
  Command tree = verify(2, 2);
  std::get<VerifyCommand>(tree.body).segments.front().rows.push_back({4, true, 0});
  queue.add(std::move(tree), kGroup);
  queue.add(verify(3, 2), kGroup);
  std::vector<Ids> sent;
  while (const auto command = queue.next()) {
    Ids own;
    for (const Segment& segment : std::get<VerifyCommand>(command->body).segments) {
      own.push_back(segment.generation_id);
    }
    sent.push_back(own);
    static_cast<void>(queue.answer(answered(*command, results(*command))));
  }
  CHECK(sent == std::vector<Ids>{{1, 3}, {2}});
}

TEST_CASE("verifications that wait become one batch") {
  CommandQueue queue(ModelRole::kTarget, 10);
  queue.add(verify(1, 2), kGroup);
  queue.add(verify(2, 4, 3), kGroup);
  queue.add(verify(3, 5), kGroup);  // one too many
  queue.add(verify(4, 4), kGroup);
  queue.add(verify(5, 1), kGroup + 1);  // with other adapters
  const auto sent = queue.next();
  REQUIRE(sent.has_value());
  CHECK(sent->generation_id == 0);
  const auto& batch = std::get<VerifyCommand>(sent->body);
  CHECK(batch.n_tokens() == 10);
  CHECK(batch.n_pad == 0);
  CHECK(batch.ops.size() == 3);
  REQUIRE(batch.segments.size() == 3);
  CHECK(batch.segments[2].generation_id == 4);

  const auto events = queue.answer(answered(*sent, results(*sent)));
  CHECK(ids(events) == Ids{1, 2, 4});
  for (const Event& event : events) {
    const auto& done = std::get<VerifyDone>(event.body);
    REQUIRE(done.results.size() == 1);
    CHECK(done.results.front().generation_id == event.generation_id);
    CHECK(event.n_batch_tokens == 10);
    CHECK(event.n_batch_texts == 3);
    CHECK(event.begin_us == 100);
    CHECK(event.end_us == 300);
    CHECK(event.ops_us == 5);
  }
  CHECK(queue.next()->generation_id == 3);
}

TEST_CASE("a batch of several texts has a padding of its own") {
  std::vector<int> asked;
  CommandQueue queue(ModelRole::kTarget, 64, [&](int n_tokens) {
    asked.push_back(n_tokens);
    return 2;
  });
  queue.add(verify(1, 2, 1), kGroup);
  queue.add(verify(2, 4, 3), kGroup);
  auto sent = queue.next();
  CHECK(std::get<VerifyCommand>(sent->body).n_pad == 2);
  const auto events = queue.answer(answered(*sent, results(*sent)));
  CHECK(events.front().n_batch_tokens == 6);  // as its texts know it
  CHECK(events.front().n_batch_pad == 2);
  queue.add(verify(3, 2, 1), kGroup);
  CHECK(std::get<VerifyCommand>(queue.next()->body).n_pad == 1);
  CHECK(asked == std::vector<int>{6});
}

TEST_CASE("where whole sequences are copied, a batch has a part for each number of rows") {
  const auto n_parts = [](Rollback rollback, const std::vector<int>& n_rows, bool splits = false) {
    CommandQueue queue(ModelRole::kTarget, 64, {}, rollback, splits);
    GenerationId id = 0;
    for (const int n : n_rows) queue.add(verify(++id, n), kGroup);
    const auto sent = queue.next();
    const auto events = queue.answer(answered(*sent, results(*sent)));
    for (const Event& event : events) CHECK(event.n_batch_parts == events[0].n_batch_parts);
    return events.front().n_batch_parts;
  };
  CHECK(n_parts(Rollback::kCopies, {5, 4, 4}) == 2);
  CHECK(n_parts(Rollback::kCopies, {1, 4, 2}) == 3);
  CHECK(n_parts(Rollback::kCopies, {4, 1, 4}) == 2);
  CHECK(n_parts(Rollback::kCopies, {4, 1, 4}, true) == 3);  // 1 is between the others
  CHECK(n_parts(Rollback::kCopies, {3, 3, 3}) == 1);
  CHECK(n_parts(Rollback::kCopies, {3}) == 1);
  CHECK(n_parts(Rollback::kAnywhere, {1, 4, 2}) == 1);
  CHECK(n_parts(Rollback::kLastBatch, {1, 4, 2}) == 1);

  CommandQueue passes(ModelRole::kDraft, 64, {}, Rollback::kCopies);
  Command uneven = draft(1, 2, 3);
  std::get<DraftCommand>(uneven.body).inputs.back().tokens = {1, 2};
  passes.add(std::move(uneven), kGroup);
  passes.add(draft(2, 1, 3), kGroup);
  const auto sent = passes.next();
  const auto events = passes.answer(answered(*sent, DraftDone{{{}, {}, {}}}));
  REQUIRE(events.size() == 2);
  CHECK(events.back().n_batch_parts == 2);
}

TEST_CASE("where gaps split a batch, it is in the order of the sequences") {
  const auto order = [](bool splits) {
    CommandQueue queue(ModelRole::kTarget, 64, {}, Rollback::kCopies, splits);
    for (const GenerationId id : Ids{3, 1, 2}) queue.add(verify(id, 2), kGroup);
    const auto sent = queue.next();
    Ids sent_ids;
    for (const Segment& one : std::get<VerifyCommand>(sent->body).segments) {
      sent_ids.push_back(one.generation_id);
    }
    const auto events = queue.answer(answered(*sent, results(*sent)));
    CHECK(ids(events) == sent_ids);
    for (const Event& event : events) {
      const auto& done = std::get<VerifyDone>(event.body);
      CHECK(done.results.front().generation_id == event.generation_id);
    }
    return sent_ids;
  };
  CHECK(order(true) == Ids{1, 2, 3});
  CHECK(order(false) == Ids{3, 1, 2});
}

TEST_CASE("draft passes become one, each with its own options") {
  CommandQueue queue(ModelRole::kDraft, 10);
  queue.add(draft(1, 2, 3), kGroup);
  queue.add(draft(2, 1, 5), kGroup);
  const auto sent = queue.next();
  REQUIRE(sent.has_value());
  const auto& batch = std::get<DraftCommand>(sent->body);
  REQUIRE(batch.ranks.size() == 3);
  CHECK(batch.ranks[1].k == 3);
  CHECK(batch.ranks[2].k == 5);
  DraftDone done;
  for (const SequenceInput& input : batch.inputs) {
    done.candidates.push_back({Candidate{static_cast<Token>(input.node), 1.0F}});
  }
  const auto events = queue.answer(answered(*sent, done));
  REQUIRE(ids(events) == Ids{1, 2});
  const auto& second = std::get<DraftDone>(events[1].body);
  REQUIRE(second.candidates.size() == 1);
  CHECK(second.candidates.front().front().token == 20);
  CHECK(std::get<DraftDone>(events[0].body).candidates.size() == 2);
}

TEST_CASE("commands that must go alone do") {
  CommandQueue queue(ModelRole::kTarget, 64);
  queue.add(verify(1, 2), CommandQueue::kAlone);
  queue.add(verify(2, 2), CommandQueue::kAlone);
  queue.add(verify(3, 2), kGroup);
  for (const GenerationId id : Ids{1, 2, 3}) {
    const auto sent = queue.next();
    REQUIRE(sent.has_value());
    CHECK(sent->generation_id == id);
    queue.answer(answered(*sent, results(*sent)));
  }
}

TEST_CASE("a prompt is read between the batches, chunk by chunk") {
  CommandQueue queue(ModelRole::kTarget, 64);
  const auto next = [&] {
    const auto sent = queue.next();
    REQUIRE(sent.has_value());
    if (std::holds_alternative<PrefillCommand>(sent->body)) {
      queue.answer(answered(*sent, PrefillDone{5}));
    } else {
      queue.answer(answered(*sent, results(*sent)));
    }
    return sent->generation_id;
  };
  queue.add(chunk(1), kGroup);
  queue.add(chunk(2), kGroup);
  queue.add(verify(3, 1), kGroup);
  queue.add(verify(4, 1), kGroup);
  CHECK(next() == 1);
  CHECK(next() == 0);  // 3 and 4, although the chunk of 2 came earlier
  queue.add(verify(3, 1), kGroup);
  CHECK(next() == 2);
  CHECK(next() == 3);
  queue.add(chunk(1), kGroup);
  queue.add(chunk(2), kGroup);
  CHECK(next() == 1);
  CHECK(next() == 2);  // nothing else waits
}

TEST_CASE("a batch is aborted when nobody needs it any more") {
  CommandQueue queue(ModelRole::kTarget, 64);
  queue.add(verify(1, 2), kGroup);
  queue.add(verify(2, 2), kGroup);
  const auto sent = queue.next();
  CHECK_FALSE(queue.release(3));
  CHECK_FALSE(queue.release(1));
  CHECK(queue.release(2));
  const auto events = queue.answer(answered(*sent, AbortDone{}));
  REQUIRE(ids(events) == Ids{1, 2});
  CHECK(std::holds_alternative<AbortDone>(events[1].body));
  CHECK_FALSE(queue.release(1));  // it is idle
}

TEST_CASE("what was not sent can be dropped") {
  CommandQueue queue(ModelRole::kDraft, 64);
  queue.add(draft(1, 1, 1), kGroup);
  CHECK_FALSE(queue.drop(2).has_value());
  const auto dropped = queue.drop(1);
  REQUIRE(dropped.has_value());
  CHECK(dropped->role == ModelRole::kDraft);
  CHECK(dropped->generation_id == 1);
  CHECK(std::holds_alternative<AbortDone>(dropped->body));
  CHECK_FALSE(queue.next().has_value());
  queue.add(draft(2, 1, 1), kGroup);
  queue.clear();
  CHECK_FALSE(queue.next().has_value());
}

TEST_CASE("of a batch that failed, one command fails") {
  CommandQueue queue(ModelRole::kTarget, 64);
  queue.add(verify(1, 2), kGroup);
  queue.add(verify(2, 2), kGroup);
  auto sent = queue.next();
  const auto full = std::make_exception_ptr(DecodeError("full"));
  CHECK(queue.answer(answered(*sent, FailDone{full})).empty());
  queue.add(verify(3, 2), kGroup);
  for (const GenerationId id : Ids{1, 2}) {
    sent = queue.next();
    REQUIRE(sent.has_value());
    CHECK(sent->generation_id == id);
    CHECK(std::get<VerifyCommand>(sent->body).ops.empty());  // they were carried out
    const auto events = queue.answer(answered(*sent, FailDone{full}));
    CHECK(ids(events) == Ids{id});
    CHECK(std::holds_alternative<FailDone>(events.front().body));
  }
  CHECK(queue.next()->generation_id == 3);
}

TEST_CASE("of a batch that failed, what nobody wants any more is not tried again") {
  CommandQueue queue(ModelRole::kTarget, 64);
  for (const GenerationId id : Ids{1, 2, 3}) queue.add(verify(id, 2), kGroup);
  const auto sent = queue.next();
  CHECK_FALSE(queue.release(2));
  const auto full = std::make_exception_ptr(DecodeError("full"));
  const auto events = queue.answer(answered(*sent, FailDone{full}));
  REQUIRE(ids(events) == Ids{2});
  CHECK(std::holds_alternative<AbortDone>(events.front().body));
  for (const GenerationId id : Ids{1, 3}) {
    const auto again = queue.next();
    REQUIRE(again.has_value());
    CHECK(again->generation_id == id);
    CHECK(ids(queue.answer(answered(*again, FailDone{full}))) == Ids{id});
  }
  CHECK_FALSE(queue.next().has_value());
}

TEST_CASE("all that waits can fail") {
  CommandQueue queue(ModelRole::kDraft, 1);
  for (const GenerationId id : Ids{1, 2, 3}) queue.add(draft(id, 1, 1), kGroup);
  REQUIRE(queue.next()->generation_id == 1);
  const auto lost = std::make_exception_ptr(FatalError("lost"));
  const auto events = queue.fail_waiting(lost);
  REQUIRE(ids(events) == Ids{2, 3});
  for (const Event& event : events) {
    CHECK(event.role == ModelRole::kDraft);
    CHECK(std::get<FailDone>(event.body).error == lost);
  }
  CHECK(queue.fail_waiting(lost).empty());
}

TEST_CASE("a failure after which the model is not as before is everybody's") {
  for (const auto& error : {std::make_exception_ptr(FatalError("x")),
                            std::make_exception_ptr(PreconditionError("x"))}) {
    CommandQueue queue(ModelRole::kTarget, 64);
    queue.add(verify(1, 2), kGroup);
    queue.add(verify(2, 2), kGroup);
    const auto sent = queue.next();
    const auto events = queue.answer(answered(*sent, FailDone{error}));
    REQUIRE(ids(events) == Ids{1, 2});
    CHECK(std::get<FailDone>(events[1].body).error == error);
  }
}

TEST_CASE("where a failed pass loses its sequences, its failure is everybody's") {
  CommandQueue queue(ModelRole::kTarget, 64, {}, Rollback::kLastBatch);
  queue.add(verify(1, 2), kGroup);
  queue.add(verify(2, 2), kGroup);
  const auto sent = queue.next();
  const auto full = std::make_exception_ptr(DecodeError("full"));
  const auto events = queue.answer(answered(*sent, FailDone{full}));
  REQUIRE(ids(events) == Ids{1, 2});
  for (const Event& event : events) CHECK(std::get<FailDone>(event.body).error == full);
  CHECK_FALSE(queue.next().has_value());
}

TEST_CASE("answers that are too few are an error") {
  CommandQueue queue(ModelRole::kTarget, 64);
  queue.add(verify(1, 2), kGroup);
  queue.add(verify(2, 2), kGroup);
  const auto sent = queue.next();
  CHECK_THROWS_AS(queue.answer(answered(*sent, VerifyDone{})), PreconditionError);
}
