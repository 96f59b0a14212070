// Which closed texts give way where cells are few.
#include "specbranch/model/kept_texts.h"

#include <vector>

#include "support/support.h"

using namespace specbranch;

namespace {

using Seqs = std::vector<SeqId>;

Request make_request(int n_prompt, int max_tokens) {
  Request request;
  request.prompt.assign(static_cast<std::size_t>(n_prompt), 1);
  request.max_tokens = max_tokens;
  return request;
}

}  // namespace

TEST_CASE("a request needs room for its prompt and its answer, and never more than the context") {
  CHECK(room_of(make_request(10, 20), 100) == 30);
  CHECK(room_of(make_request(10, 0), 100) == 10);
  CHECK(room_of(make_request(10, 90), 100) == 100);
  CHECK(room_of(make_request(10, 2'000'000'000), 100) == 100);
  CHECK(room_of(make_request(10, -1), 100) == 100);
}

TEST_CASE("closed texts stay while there is room, and the oldest gives way first") {
  KeptTexts texts(100);
  CHECK(texts.open(1, Seqs{0}, 40).empty());
  CHECK(texts.open(2, Seqs{1}, 40).empty());
  texts.close(2, 30);
  texts.close(1, 35);
  CHECK(texts.open(3, Seqs{2}, 35).empty());     // 30 + 35 + 35
  CHECK(texts.open(4, Seqs{3}, 10) == Seqs{1});  // the text that closed first
  CHECK(texts.open(5, Seqs{1}, 30) == Seqs{0});
  CHECK(texts.open(6, Seqs{4}, 25).empty());
}

TEST_CASE("what the sequences of a new session hold is its own, not that of a closed text") {
  KeptTexts texts(100);
  texts.open(1, Seqs{0, 1}, 60);
  texts.close(1, 60);
  CHECK(texts.open(2, Seqs{0, 1}, 100).empty());
  texts.close(2, 100);
  // A session that opens again in the middle of its text is one session.
  CHECK(texts.open(3, Seqs{2, 3}, 50) == Seqs{0, 1});
  CHECK(texts.open(3, Seqs{2, 3}, 50).empty());
  CHECK(texts.open(4, Seqs{0, 1}, 50).empty());
}

TEST_CASE("a closed text whose sequences were emptied makes room at once") {
  KeptTexts texts(100);
  texts.open(1, Seqs{0, 1}, 40);
  texts.open(2, Seqs{2}, 40);
  texts.close(1, 40);
  texts.close(2, 40);
  texts.emptied(0);
  texts.emptied(2);
  CHECK(texts.open(3, Seqs{3}, 60).empty());  // 40 of the first one, in its second sequence
  CHECK(texts.open(4, Seqs{4}, 10) == Seqs{1});
}

TEST_CASE("an empty text keeps nothing, and without a limit nothing gives way") {
  KeptTexts few(10);
  few.open(1, Seqs{0}, 10);
  few.close(1, 0);
  CHECK(few.open(2, Seqs{1}, 10).empty());
  KeptTexts many(0);
  for (GenerationId id = 0; id < 100; ++id) {
    CHECK(many.open(id, Seqs{static_cast<SeqId>(id)}, 1'000'000).empty());
    many.close(id, 1'000'000);
  }
}
