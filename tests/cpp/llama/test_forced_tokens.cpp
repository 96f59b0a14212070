// What GBNF grammars force, with the vocabulary of the test's model.
#include "specbranch/llama/sampling/forced_tokens.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "llama/support.h"
#include "specbranch/llama/vocabulary/byte_tokens.h"

using namespace specbranch;
using namespace specbranch::llama;
using namespace specbranch::llama::testing;

namespace {

/// A text under a grammar.
class Text {
 public:
  explicit Text(const std::string& grammar)
      : vocabulary_(target_weights()->vocabulary()),
        rule_(make_constraint(vocabulary_, options_of(grammar))),
        forced_(vocabulary_, *rule_) {}

  /// Appends the bytes in their usual tokens.
  void append(const std::string& bytes) {
    for (const Token token : vocabulary_.tokenize(bytes, false, false)) append(token);
  }

  void append(Token token) {
    REQUIRE(rule_->allows(token));
    rule_->accept(token);
    forced_.accept(token);
    tokens_.push_back(token);
  }

  ForcedRun run() { return forced_.after(tokens_); }
  std::string bytes() { return vocabulary_.detokenize(run().tokens); }
  std::string sure_bytes() {
    ForcedRun forced = run();
    forced.tokens.resize(forced.n_sure);
    return vocabulary_.detokenize(forced.tokens);
  }
  Token byte(char byte) const {
    return vocabulary_.byte_tokens().of(static_cast<unsigned char>(byte));
  }

 private:
  static SamplingOptions options_of(const std::string& grammar) {
    SamplingOptions options;
    options.grammar = grammar;
    return options;
  }

  const Vocabulary& vocabulary_;
  std::unique_ptr<TokenConstraint> rule_;
  ForcedTokens forced_;
  std::vector<Token> tokens_;
};

const std::string kSpace = "space ::= \" \"?\n";
const std::string kObject =
    "root ::= \"{\" space \"\\\"first_name\\\":\" space value \",\" space "
    "\"\\\"last_name\\\":\" space value \"}\"\nvalue ::= \"\\\"\" [a-z]+ \"\\\"\"\n" +
    kSpace;

}  // namespace

TEST_CASE("forced tokens: the whole text, a part of it, nothing") {
  SPECBRANCH_NEEDS_MODELS();
  Text whole("root ::= \"return value\"");
  CHECK(whole.bytes() == "return value");
  CHECK(whole.run().n_sure < whole.run().tokens.size());
  CHECK(whole.run().n_sure > 0);
  Text part("root ::= \"return \" (\"one\" | \"two\")");
  CHECK(part.bytes() == "return ");
  part.append("return o");
  CHECK(part.bytes() == "ne");
  CHECK(Text("root ::= [a-z]+").run().tokens.empty());
  CHECK(Text("root ::= \"a\" | \"b\"").run().tokens.empty());
  CHECK(Text("root ::= [0-9]+ \"x\"").run().tokens.empty());
}

TEST_CASE("forced tokens: where the text may end nothing is forced") {
  SPECBRANCH_NEEDS_MODELS();
  Text text("root ::= \"ab\" \"cd\"?");
  CHECK(text.bytes() == "ab");
  text.append("ab");
  CHECK(text.run().tokens.empty());
}

TEST_CASE("forced tokens: accepted ones shorten the run, other spellings begin anew") {
  SPECBRANCH_NEEDS_MODELS();
  Text text("root ::= \"first_name = last_name\"");
  const ForcedRun run = text.run();
  REQUIRE(run.tokens.size() > 3);
  text.append(run.tokens[0]);
  text.append(run.tokens[1]);
  const ForcedRun rest = text.run();
  CHECK(rest.tokens == std::vector<Token>(run.tokens.begin() + 2, run.tokens.end()));
  CHECK(rest.n_sure + 2 == run.n_sure);
  Text bytes("root ::= \"first_name = last_name\"");
  static_cast<void>(bytes.run());
  bytes.append(bytes.byte('f'));
  CHECK(bytes.bytes() == "irst_name = last_name");
}

TEST_CASE("forced tokens: a space that may be left out is as it was before") {
  SPECBRANCH_NEEDS_MODELS();
  for (const std::string space : {"", " "}) {
    CAPTURE(space);
    Text text(kObject);
    CHECK(text.bytes() == "{");
    text.append("{");
    CHECK(text.run().tokens.empty());
    text.append(space + "\"");
    CHECK(text.bytes() == "first_name\":");
    text.append("first_name\":");
    text.append(space + "\"a");
    CHECK(text.run().tokens.empty());
    text.append("\"");
    CHECK(text.bytes() == ",");
    text.append(",");
    // What follows a comma is not known yet.
    CHECK(text.run().tokens.empty());
    text.append(space + "\"");
    // A colon was met before.
    const std::string sure = "last_name\":";
    CHECK(text.bytes() == sure + space + "\"");
    CHECK(sure.starts_with(text.sure_bytes()));
    CHECK(text.sure_bytes().size() < sure.size());
  }
}

TEST_CASE("forced tokens: a long text comes in parts, and no character is cut") {
  SPECBRANCH_NEEDS_MODELS();
  std::string literal;
  while (literal.size() < 700) literal += "\U0001f600x\u00e9";
  Text text("root ::= \"" + literal + "\"");
  std::string found;
  for (int i = 0; i < 2000 && found.size() < literal.size(); ++i) {
    const ForcedRun run = text.run();
    REQUIRE_FALSE(run.tokens.empty());
    text.append(run.tokens.front());
    found += target_weights()->vocabulary().piece(run.tokens.front());
  }
  CHECK(found == literal);
  CHECK(text.run().tokens.empty());
}
