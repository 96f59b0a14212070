#include "llama.h"
#include "specbranch/llama/sampling/sampler_chain.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "specbranch/base/errors.h"
#include "specbranch/llama/runtime/llguidance.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

/// llama.cpp's own samplers over the full vocabulary, in its default order.
std::vector<Scored> reference(const std::vector<float>& logits, const SamplingOptions& options,
                              const std::vector<Token>& prompt) {
  const auto n = static_cast<int>(logits.size());
  SamplerHandle chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  std::vector<llama_logit_bias> bias;
  for (const auto& [token, value] : options.logit_bias) bias.push_back({token, value});
  llama_sampler_chain_add(
      chain.get(), llama_sampler_init_logit_bias(n, static_cast<int>(bias.size()), bias.data()));
  llama_sampler_chain_add(chain.get(), llama_sampler_init_penalties(
                                           n, options.repeat_last_n, options.repeat_penalty,
                                           options.frequency_penalty, options.presence_penalty));
  llama_sampler_chain_add(chain.get(), llama_sampler_init_top_k(options.top_k));
  llama_sampler_chain_add(chain.get(), llama_sampler_init_top_p(options.top_p, 1));
  llama_sampler_chain_add(chain.get(), llama_sampler_init_min_p(options.min_p, 1));
  llama_sampler_chain_add(chain.get(), llama_sampler_init_temp(options.temperature));
  for (const Token token : prompt) llama_sampler_accept(chain.get(), token);
  std::vector<llama_token_data> data;
  for (int i = 0; i < n; ++i) data.push_back({i, logits[static_cast<std::size_t>(i)], 0.0F});
  llama_token_data_array array{data.data(), data.size(), -1, false};
  llama_sampler_apply(chain.get(), &array);
  std::vector<Scored> kept;
  for (std::size_t i = 0; i < array.size; ++i) {
    kept.push_back({array.data[i].id, array.data[i].logit});
  }
  return kept;
}

void sort_by_score(std::vector<Scored>& kept) {
  std::sort(kept.begin(), kept.end(), [](const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.token < b.token);
  });
}

std::vector<float> random_logits(std::mt19937& random, std::size_t n, float spread, float step) {
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> logits(n);
  for (float& score : logits) {
    score = normal(random);
    if (step > 0.0F) score = std::round(score / step) * step;  // ties
  }
  return logits;
}

SamplingOptions random_options(std::mt19937& random, int n_vocab) {
  const auto pick = [&](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[random() % sizeof...(values)];
  };
  SamplingOptions options;
  options.temperature = pick(0.5F, 0.8F, 1.0F, 1.3F);
  options.top_k = pick(0, 0, 1, 5, 40, 200, 5000);
  options.top_p = pick(1.0F, 0.1F, 0.9F, 0.95F, 0.999F);
  options.min_p = pick(0.0F, 0.0F, 0.02F, 0.2F);
  options.repeat_penalty = pick(1.0F, 1.0F, 1.1F, 1.5F);
  options.frequency_penalty = pick(0.0F, 0.0F, 0.3F);
  options.presence_penalty = pick(0.0F, 0.0F, 0.7F, -0.5F);
  options.repeat_last_n = pick(64, 64, 0, 7, 300);
  for (unsigned i = random() % 4; i > 0; --i) {
    options.logit_bias[static_cast<Token>(random() % static_cast<unsigned>(n_vocab))] =
        pick(2.0F, -3.0F, -std::numeric_limits<float>::infinity());
  }
  return options;
}

TEST_CASE("the candidates are those of llama.cpp's samplers over the full vocabulary") {
  std::mt19937 random(20260601);
  for (int run = 0; run < 400; ++run) {
    CAPTURE(run);
    const std::size_t n = run % 10 == 0 ? 30000 : 500 + random() % 3500;
    const float step = run % 3 == 0 ? 0.25F : 0.0F;
    const float spread = run % 4 == 0 ? 0.1F : 0.5F + static_cast<float>(random() % 5);
    std::vector<float> logits = random_logits(random, n, spread, step);
    const SamplingOptions options = random_options(random, static_cast<int>(n));
    std::vector<Token> prompt(random() % 200);
    for (Token& token : prompt) token = static_cast<Token>(random() % n);

    const std::vector<float> before = logits;
    std::vector<Scored> found = TokenDistribution(options).candidates(logits, prompt);
    CHECK(logits == before);  // edits are taken back
    std::vector<Scored> expected = reference(before, options, prompt);
    sort_by_score(found);
    sort_by_score(expected);
    REQUIRE(found.size() == expected.size());
    const float edge = expected.back().score;
    for (std::size_t i = 0; i < found.size(); ++i) {
      REQUIRE(found[i].score == expected[i].score);
      // Of equal logits at the edge llama.cpp keeps any; above it the tokens are the same.
      if (found[i].score != edge) REQUIRE(found[i].token == expected[i].token);
    }
  }
}

TEST_CASE("the choice is the perturbed best of the candidates, by every path") {
  SPECBRANCH_NEEDS_MODELS();
  const auto& vocabulary = target_weights()->vocabulary();
  std::mt19937 random(7);
  for (int run = 0; run < 300; ++run) {
    CAPTURE(run);
    std::vector<float> logits = random_logits(random, 2000, 2.0F, run % 2 == 0 ? 0.5F : 0.0F);
    SamplingOptions options = random_options(random, 2000);
    options.seed = random();
    if (run % 5 == 0) options.temperature = 0.0F;
    std::vector<Token> prompt(1 + random() % 100);
    for (Token& token : prompt) token = static_cast<Token>(random() % 2000);
    SamplerChain chain(vocabulary, options, prompt);
    const auto token = chain.choose(logits);
    REQUIRE(token.has_value());
    if (options.temperature > 0.0F) {
      const auto kept = TokenDistribution(options).candidates(logits, prompt);
      const PositionNoise noise(options.seed, static_cast<Pos>(prompt.size()));
      CHECK(*token == kept[static_cast<std::size_t>(choose(kept, &noise))].token);
    } else {
      SamplingOptions plain = options;
      plain.temperature = 1.0F;
      plain.top_k = 0;
      plain.top_p = 1.0F;
      plain.min_p = 0.0F;
      const auto all = TokenDistribution(plain).candidates(logits, prompt);
      CHECK(*token == all[static_cast<std::size_t>(choose(all, nullptr))].token);
    }
  }
}

TEST_CASE("a quick sum moves the edge of a nucleus by few tokens") {
  std::mt19937 random(13);
  for (int run = 0; run < 200; ++run) {
    CAPTURE(run);
    const float spread = run % 4 == 0 ? 0.1F : 0.5F + static_cast<float>(random() % 5);
    const std::vector<float> logits = random_logits(random, 300 + random() % 3000, spread, 0.0F);
    const ScoreRow row(logits);
    const float p = 0.5F + 0.49F * static_cast<float>(random() % 100) / 100.0F;
    const auto exact = keep_top_p(row, p).size();
    CHECK(keep_top_p(row, p - 0.005F, SoftmaxSum::kQuick).size() <= exact);
    CHECK(keep_top_p(row, p + 0.005F, SoftmaxSum::kQuick).size() >= exact);
  }
}

TEST_CASE("a draft with the target's logits proposes the target's choice first") {
  SPECBRANCH_NEEDS_MODELS();
  const auto& vocabulary = target_weights()->vocabulary();
  std::mt19937 random(11);
  int n_beyond = 0;
  int n_first = 0;
  for (int run = 0; run < 600; ++run) {
    CAPTURE(run);
    const std::size_t n = run % 7 == 0 ? 20000 : 300 + random() % 3000;
    const float spread = run % 4 == 0 ? 0.1F : 0.5F + static_cast<float>(random() % 5);
    std::vector<float> logits = random_logits(random, n, spread, run % 3 == 0 ? 0.25F : 0.0F);
    SamplingOptions options = random_options(random, static_cast<int>(n));
    if (run % 6 == 0) options.temperature = 0.0F;
    if (run % 4 == 0) {  // no truncation: the choice may lie far down
      options.top_k = 0;
      options.top_p = 1.0F;
      options.min_p = 0.0F;
    }
    options.seed = random();
    std::vector<Token> prompt(1 + random() % 100);
    for (Token& token : prompt) token = static_cast<Token>(random() % n);
    const std::vector<float> before = logits;
    const TokenDistribution distribution(options);
    const auto ranked = distribution.rank(logits, prompt, 12);
    CHECK(logits == before);
    REQUIRE(!ranked.empty());
    CHECK(ranked.front().token == SamplerChain(vocabulary, options, prompt).choose(logits));

    std::set<Token> kept;
    if (options.temperature > 0.0F) {
      for (const Scored& item : distribution.candidates(logits, prompt)) kept.insert(item.token);
    }
    std::set<Token> seen;
    double total = 0.0;
    for (std::size_t i = 0; i < ranked.size(); ++i) {
      seen.insert(ranked[i].token);
      total += ranked[i].confidence;
      if (i > 1) CHECK(ranked[i].confidence <= ranked[i - 1].confidence);
      const bool beyond = options.temperature > 0.0F && !kept.contains(ranked[i].token);
      CHECK(ranked[i].beyond == beyond);
      n_beyond += beyond ? 1 : 0;
    }
    CHECK(seen.size() == ranked.size());
    CHECK(total <= 1.0 + 1e-9);

    RankOptions none(12);
    none.beyond_weight = 0.0;
    for (const Candidate& one : distribution.rank(logits, prompt, none)) CHECK_FALSE(one.beyond);
    RankOptions all(kDraftCandidates);
    all.beyond_weight = 1.0;
    all.beyond_first = true;
    const auto best = distribution.rank(logits, prompt, all);
    for (std::size_t i = 1; i < best.size(); ++i) {
      CHECK(best[i].confidence <= best[i - 1].confidence);
    }
    n_first += best.front().beyond ? 1 : 0;
    if (!best.front().beyond) CHECK(best.front().token == ranked.front().token);
  }
  CHECK(n_beyond > 100);  // tokens that only the loosened truncation leaves
  CHECK(n_first > 10);    // ... and that lead where they may
}

TEST_CASE("samples follow the distribution after the chain") {
  SPECBRANCH_NEEDS_MODELS();
  std::vector<float> logits = {2.0F, 1.5F, 1.0F, 0.0F, -1.0F, -4.0F, -9.0F, -9.5F};
  SamplingOptions options;
  options.temperature = 1.5F;
  options.top_k = 4;
  std::map<Token, int> counts;
  constexpr int kSamples = 20000;
  for (int i = 0; i < kSamples; ++i) {
    options.seed = static_cast<std::uint64_t>(i);
    const std::vector<Token> prompt{0};
    SamplerChain chain(target_weights()->vocabulary(), options, prompt);
    ++counts[chain.choose(logits).value()];
  }
  CHECK(counts.size() == 4);
  double sum = 0.0;
  for (std::size_t i = 0; i < 4; ++i) sum += std::exp(static_cast<double>(logits[i]) / 1.5);
  double chi_square = 0.0;
  for (std::size_t i = 0; i < 4; ++i) {
    const double expected = kSamples * std::exp(static_cast<double>(logits[i]) / 1.5) / sum;
    chi_square += std::pow(counts[static_cast<Token>(i)] - expected, 2) / expected;
  }
  CHECK(chi_square < 16.3);  // 3 degrees of freedom, p = 0.001
}

TEST_CASE("penalties see the last 64 tokens, prompt and accepted ones") {
  SPECBRANCH_NEEDS_MODELS();
  SamplingOptions options;
  options.presence_penalty = 100.0F;
  const auto& vocabulary = target_weights()->vocabulary();
  std::vector<float> logits(4096, 0.0F);
  logits[42] = 5.0F;
  std::vector<Token> prompt(64, 7);
  prompt.front() = 42;
  SamplerChain chain(vocabulary, options, prompt);
  CHECK(chain.choose(logits) == 0);
  chain.accept(9);  // 42 leaves the window
  CHECK(chain.choose(logits) == 42);
  chain.accept(42);
  CHECK(chain.choose(logits) == 0);
}

TEST_CASE("logits that are not numbers are refused") {
  SPECBRANCH_NEEDS_MODELS();
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> logits(100, 0.0F);
    logits[57] = bad;
    SamplerChain chain(target_weights()->vocabulary(), {}, {});
    CHECK_THROWS_AS(chain.choose(logits), DecodeError);
  }
}

TEST_CASE("a choice that the grammar forbids is made again among what it allows") {
  SPECBRANCH_NEEDS_MODELS();
  const auto& vocabulary = target_weights()->vocabulary();
  const Token a = vocabulary.tokenize("a", false, false).front();
  const Token b = vocabulary.tokenize("b", false, false).front();
  const Token c = vocabulary.tokenize("c", false, false).front();
  std::vector<float> logits(static_cast<std::size_t>(vocabulary.size()), 0.0F);
  logits[static_cast<std::size_t>(a)] = 9.0F;
  logits[static_cast<std::size_t>(b)] = 5.0F;
  for (const int top_k : {0, 1, 40}) {
    for (const float temperature : {0.0F, 0.1F}) {
      SamplingOptions options;
      options.grammar = "root ::= [bc] \"b\"";
      options.top_k = top_k;
      options.temperature = temperature;
      const std::vector<Token> prompt{a};
      SamplerChain chain(vocabulary, options, prompt);
      CHECK(chain.choose(logits) == b);
      chain.accept(c);
      CHECK(chain.choose(logits) == b);
      chain.accept(b);
      const auto end = chain.choose(logits);
      REQUIRE(end.has_value());
      CHECK(vocabulary.is_end(*end));
      chain.accept(*end);
    }
  }
}

TEST_CASE("under a grammar characters are spelled in UTF-8") {
  SPECBRANCH_NEEDS_MODELS();
  const auto& vocabulary = target_weights()->vocabulary();
  const auto token_of = [&](const std::string& piece) {
    Token token = 0;
    while (vocabulary.piece(token) != piece) ++token;
    return token;
  };
  SamplingOptions options;
  options.grammar = "root ::= \"\U0001f600\" | \"\u65e5\"";  // F0 9F 98 80, E6 97 A5
  const std::vector<Token> prompt{1};
  SamplerChain chain(vocabulary, options, prompt);
  std::vector<float> logits(static_cast<std::size_t>(vocabulary.size()), 0.0F);
  // F0 86 97 A5 has the value of the second one, too, which llama.cpp takes for it.
  float score = 9.0F;
  for (const char* byte : {"\xF0", "\x86", "\x97", "\xA5", "\x9F", "\x98", "\x80"}) {
    logits[static_cast<std::size_t>(token_of(byte))] = score--;
  }
  for (const char* byte : {"\xF0", "\x9F", "\x98", "\x80"}) {
    const auto token = chain.choose(logits);
    REQUIRE(token.has_value());
    CHECK(*token == token_of(byte));
    chain.accept(*token);
  }
  const auto end = chain.choose(logits);
  REQUIRE(end.has_value());
  CHECK(vocabulary.is_end(*end));
}

SamplingOptions with_grammar(const std::string& grammar) {
  SamplingOptions options;
  options.grammar = grammar;
  return options;
}

TEST_CASE("bad grammars are refused at once") {
  SPECBRANCH_NEEDS_MODELS();
  const auto& vocabulary = target_weights()->vocabulary();
  for (const std::string grammar :
       {"root ::= (", "nonsense", "start ::= \"a\"", "root ::= root \"a\"", "root ::= other",
        "root ::= [", "root ::= \"a\"{2", "root ::= \"\\x\""}) {
    CAPTURE(grammar);
    CHECK_THROWS_AS(check_constraint(vocabulary, with_grammar(grammar)), InvalidArgument);
  }
  CHECK_THROWS_AS(check_constraint(vocabulary, with_grammar(std::string("root ::= \"a\0\"", 14))),
                  InvalidArgument);
  const std::string deep =
      "root ::= " + std::string(200000, '(') + "\"a\"" + std::string(200000, ')');
  CHECK_THROWS_AS(check_constraint(vocabulary, with_grammar(deep)), InvalidArgument);
  // Parentheses that close in a literal, a class or a comment leave the others open.
  const std::string closed(2000, ')');
  const std::string open(200000, '(');
  for (const std::string& prefix :
       {"root ::= \"" + closed + "\" | ", "root ::= [" + closed + "] | ",
        "# " + closed + "\nroot ::= ", "root ::= \"\\\"" + closed + "\" | "}) {
    CHECK_THROWS_AS(check_constraint(vocabulary, with_grammar(prefix + open)), InvalidArgument);
  }
  CHECK_NOTHROW(
      check_constraint(vocabulary, with_grammar("root ::= \"" + std::string(2000, '(') + "\"")));
  CHECK_NOTHROW(check_constraint(vocabulary, with_grammar("root ::= \"yes\" | \"no\"")));
  CHECK_NOTHROW(check_constraint(vocabulary, with_grammar("")));
}

TEST_CASE("a Lark grammar needs llguidance, which only a Python process has") {
  SPECBRANCH_NEEDS_MODELS();
  SamplingOptions options;
  options.lark = "start: \"a\"";
  CHECK_THROWS_WITH_AS(check_constraint(target_weights()->vocabulary(), options),
                       doctest::Contains("llguidance, which is not loaded"), InvalidArgument);
  CHECK_THROWS_WITH_AS(Llguidance::load("/nothing/there.so"), doctest::Contains("cannot be loaded"),
                       InvalidArgument);
}

}  // namespace
}  // namespace specbranch::llama
