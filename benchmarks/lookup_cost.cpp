// What drafts from the text cost: appending a token to the automaton, looking it up, and the
// memory, by the length of the text; a line of JSON for each figure. No model takes part.
//
//   build/llama/specbranch_lookup_cost
#include <malloc.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/lookup/suffix_automaton.h"
#include "specbranch/lookup/text_pool.h"

namespace {

using namespace specbranch;
using Clock = std::chrono::steady_clock;
using Tokens = std::vector<Token>;

constexpr std::size_t kLengths[] = {10'000, 100'000, 1'000'000};

/// SplitMix64.
class Random {
 public:
  std::uint64_t next() {
    std::uint64_t x = state_ += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31U);
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(next() % n); }
  double uniform() { return static_cast<double>(next() >> 11U) * 0x1p-53; }

 private:
  std::uint64_t state_ = 7;
};

/// Tokens of a vocabulary of 50,000, as frequent as words are (the k-th about 1/k), with phrases
/// that return.
Tokens text_like(std::size_t n) {
  Random random;
  Tokens text;
  while (text.size() < n) {
    if (text.size() > 100 && random.uniform() < 0.03) {
      const std::size_t begin = random.below(text.size() - 50);
      for (std::size_t i = 0; i < 20; ++i) text.push_back(text[begin + i]);
    }
    double rank = 1.0;
    for (double u = random.uniform(); rank < 50'000 && u > 0.0; u -= 0.09) rank *= 2.718281828;
    text.push_back(static_cast<Token>(random.below(static_cast<std::size_t>(rank) + 1)));
  }
  text.resize(n);
  return text;
}

Tokens uniform(std::size_t n, std::size_t n_tokens) {
  Random random;
  Tokens text;
  while (text.size() < n) text.push_back(static_cast<Token>(random.below(n_tokens)));
  return text;
}

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

double allocated() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

void print(const std::string& name, const char* figure, const char* unit, double value) {
  std::printf("{\"figure\": \"%s: %s\", \"%s\": %.4g}\n", name.c_str(), figure, unit, value);
}

void run(const std::string& kind, const Tokens& text) {
  const std::string name = kind + ", " + std::to_string(text.size()) + " tokens";
  const auto n = static_cast<double>(text.size());
  const double before = allocated();
  auto automaton = std::make_unique<SuffixAutomaton>();
  auto begin = Clock::now();
  for (const Token token : text) automaton->append(token);
  print(name, "append", "ns", ns_since(begin) / n);
  print(name, "memory a token", "bytes", (allocated() - before) / n);

  Random random;
  constexpr int kWalks = 20'000;
  constexpr int kSteps = 8;
  std::int64_t n_found = 0;
  begin = Clock::now();
  for (int i = 0; i < kWalks; ++i) {
    SuffixAutomaton::Match match = automaton->match();
    match = automaton->step(match, text[random.below(text.size())]);
    for (int step = 1; step < kSteps; ++step) {
      const SuffixAutomaton::Continuation next = automaton->next(match);
      if (next.token < 0) break;
      match = automaton->step(match, next.token);
      ++n_found;
    }
  }
  print(name, "look-up of a token", "ns", ns_since(begin) / (kWalks * kSteps));

  TextPool pool(text.size() + 1);
  begin = Clock::now();
  pool.add(text);
  print(name, "pool: adding", "ns", ns_since(begin) / n);
  begin = Clock::now();
  for (int i = 0; i < kWalks; ++i) {
    const std::size_t end = 40 + random.below(text.size() - 40);
    n_found += pool.find(std::span(text).first(end)).length;
  }
  print(name, "pool: look-up", "ns", ns_since(begin) / kWalks);
  if (n_found == 0) std::printf("nothing was found\n");
}

}  // namespace

int main() {
  for (const std::size_t n : kLengths) run("like a text", text_like(n));
  for (const std::size_t n : kLengths) run("4 tokens at random", uniform(n, 4));
  for (const std::size_t n : kLengths) run("50,000 tokens at random", uniform(n, 50'000));
  return 0;
}
