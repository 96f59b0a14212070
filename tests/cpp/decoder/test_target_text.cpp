// What a verification takes back before it, and which rows it decodes again.
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/decoder/target_text.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

Capabilities target_of(Rollback rollback, int max_batch = 16) {
  Capabilities target;
  target.n_seq = 2;
  target.rollback = rollback;
  target.max_batch = max_batch;
  return target;
}

/// A text that grows by what a target accepts.
struct Writer {
  explicit Writer(Rollback rollback, int max_batch = 16)
      : text(target_of(rollback, max_batch), /*seq=*/1) {
    tokens = {1, 2, 3, 4};
    const std::vector<Pos> lengths(text.seqs().size(), 0);
    text.open(lengths, 3);
  }

  Pos root() const { return static_cast<Pos>(tokens.size()) - 1; }

  /// Verifies `n_drafted` tokens, of which the target accepts `n_accepted`.
  VerifyCommand step(int n_drafted, int n_accepted) {
    std::vector<Token> path{tokens.back()};
    for (int i = 0; i < n_drafted; ++i) path.push_back(next + i);
    VerifyCommand command = text.verify(7, root(), tokens, path_rows(path));
    for (int i = 0; i < n_accepted; ++i) tokens.push_back(next + i);
    tokens.push_back(next + 50);  // the target's own
    next += 100;
    return command;
  }

  TargetText text;
  std::vector<Token> tokens;
  Token next = 100;
};

int n_unwanted(const VerifyCommand& command) {
  int n = 0;
  for (const Row& row : segment_of(command).rows) n += row.wanted ? 0 : 1;
  return n;
}

}  // namespace

TEST_CASE("where sequences can be cut, rejected rows are cut") {
  for (const Rollback rollback : {Rollback::kAnywhere, Rollback::kLastBatch}) {
    Writer writer(rollback);
    CHECK(writer.text.seqs() == std::vector<SeqId>{1});
    VerifyCommand command = writer.step(4, 1);
    CHECK(command.ops.empty());
    CHECK(segment_of(command).pos == 3);
    CHECK(writer.text.max_path(writer.root()) == 15);
    command = writer.step(2, 2);
    REQUIRE(command.ops.size() == 1);
    const auto& cut = std::get<Truncate>(command.ops[0]);
    CHECK(cut.seq == 1);
    CHECK(cut.expected == 8);
    CHECK(cut.length == 5);
    CHECK(n_unwanted(command) == 0);
    CHECK(segment_of(command).pos == 5);
    CHECK(writer.step(0, 0).ops.empty());  // all three were accepted
  }
}

TEST_CASE("where whole sequences are copied, accepted tokens lead the next verification") {
  Writer writer(Rollback::kCopies);
  CHECK(writer.text.seqs() == std::vector<SeqId>{1, 3});
  // A copy stays behind, as what is drafted may be rejected.
  VerifyCommand command = writer.step(4, 1);
  REQUIRE(command.ops.size() == 1);
  auto fork = std::get<Fork>(command.ops[0]);
  CHECK(fork.from == 1);
  CHECK(fork.to == 3);
  CHECK(fork.shared == 0);
  CHECK(fork.length == 3);
  CHECK(segment_of(command).rows.size() == 5);

  CHECK(writer.text.n_replayed(writer.root()) == 2);
  CHECK(writer.text.max_path(writer.root()) == 13);
  command = writer.step(3, 3);
  REQUIRE(command.ops.size() == 1);
  fork = std::get<Fork>(command.ops[0]);
  CHECK(fork.from == 3);
  CHECK(fork.to == 1);
  CHECK(fork.to_length == 8);
  CHECK(fork.shared == 0);
  CHECK(fork.length == 3);
  CHECK(segment_of(command).pos == 3);
  CHECK(segment_of(command).rows.size() == 2 + 4);
  CHECK(n_unwanted(command) == 2);
  CHECK(segment_of(command).rows[0].token == 4);
  CHECK(segment_of(command).rows[1].token == 100);
  CHECK(segment_of(command).rows[2].token == 150);
  CHECK(segment_of(command).rows[2].wanted);

  // All of it was accepted: the copy grows by what it lacks.
  CHECK(writer.text.n_replayed(writer.root()) == 0);
  command = writer.step(1, 1);
  REQUIRE(command.ops.size() == 1);
  fork = std::get<Fork>(command.ops[0]);
  CHECK(fork.to == 3);
  CHECK(fork.shared == 3);
  CHECK(fork.length == 9);
}

TEST_CASE("accepted tokens of a branch lead the next verification") {
  TargetText text(target_of(Rollback::kAnywhere), /*seq=*/1);
  CHECK(text.n_replayed(3) == 0);
  CHECK(text.max_path(3) == 15);
  text.open(std::vector<Pos>{3}, 3);
  // 4 -- 100 -- 101, and 200 -- 201 after 4.
  const std::vector<Row> tree{{4}, {100}, {101}, {200, true, 0}, {201}};
  VerifyCommand command = text.verify(7, 3, std::vector<Token>{1, 2, 3, 4}, tree);
  CHECK(command.ops.empty());
  CHECK(segment_of(command).pos == 3);
  CHECK(command.n_tokens() == 5);
  CHECK(text.n_replayed(3) == 0);

  // 200 and 201 were accepted, and 250 came after them. The sequence holds 4, 100 and 101.
  text.keep(4);
  CHECK(text.n_replayed(6) == 2);
  CHECK(text.max_path(6) == 13);
  const std::vector<Row> next{{250}, {300}, {400, true, 0}, {500, true, 1}};
  command = text.verify(7, 6, std::vector<Token>{1, 2, 3, 4, 200, 201, 250}, next);
  REQUIRE(command.ops.size() == 1);
  const auto& cut = std::get<Truncate>(command.ops[0]);
  CHECK(cut.expected == 6);
  CHECK(cut.length == 4);
  const std::vector<Row>& rows = segment_of(command).rows;
  CHECK(segment_of(command).pos == 4);
  CHECK(test::path_of(command) == std::vector<Token>{200, 201, 250, 300, 400, 500});
  CHECK(n_unwanted(command) == 2);
  CHECK(rows[2].wanted);
  CHECK(rows[3].parent == Row::kBefore);
  CHECK(rows[4].parent == 2);
  CHECK(rows[5].parent == 3);

  // Of the path 300 was accepted: nothing is left to decode again.
  text.keep(8);
  CHECK(text.n_replayed(8) == 0);
  command = text.verify(7, 8, {}, path_rows(std::vector<Token>{350}));
  CHECK(command.ops.empty());
  CHECK(segment_of(command).pos == 8);
}

TEST_CASE("single tokens need no copy") {
  Writer writer(Rollback::kCopies);
  for (int i = 0; i < 4; ++i) {
    const VerifyCommand command = writer.step(0, 0);
    CHECK(command.ops.empty());
    CHECK(segment_of(command).rows.size() == 1);
  }
}

TEST_CASE("a verification that only decodes the text again comes before it has become long") {
  for (const int max_batch : {12, 64}) {
    CAPTURE(max_batch);
    Writer writer(Rollback::kCopies, max_batch);
    int longest = 0;
    int n_alone = 0;
    for (int i = 0; i < 50; ++i) {
      const int n_drafted = std::min(3, writer.text.max_path(writer.root()));
      const VerifyCommand command = writer.step(n_drafted, n_drafted / 2);
      longest = std::max(longest, command.n_tokens());
      n_alone += n_drafted == 0 ? 1 : 0;
      if (n_drafted == 0) {
        // Nothing was rejected, so that all of it stays.
        CHECK(n_unwanted(command) > 0);
        CHECK(writer.text.n_replayed(writer.root()) == 0);
      }
    }
    CHECK(longest <= 12);
    CHECK(n_alone > 5);
    CHECK(n_alone < 25);
  }
}

TEST_CASE("a text of another length is refused where it is needed") {
  Writer writer(Rollback::kCopies);
  writer.step(2, 0);
  const std::vector<Token> path{writer.tokens.back()};
  CHECK_THROWS_AS(static_cast<void>(writer.text.verify(7, writer.root(), {}, path_rows(path))),
                  PreconditionError);
}
