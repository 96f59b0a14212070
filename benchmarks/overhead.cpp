// What the engine does around llama.cpp, piece by piece: a line of JSON for each, in microseconds.
//
//   build/llama/specbranch_overhead MODEL.gguf [n_ctx]
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "specbranch/base/channel.h"
#include "specbranch/llama/context/context.h"
#include "specbranch/llama/sampling/sampler_chain.h"
#include "specbranch/sampling/choice.h"
#include "specbranch/tree/kv_ledger.h"
#include "timing.h"

namespace {

using namespace specbranch;
using namespace specbranch::llama;
using bench::median_us;

constexpr int kTail = 8;  // tokens that are rolled back, or that two branches do not share
constexpr int kRepeats = 401;
constexpr int kChoices = 101;
constexpr int kRollbacks = 101;  // each needs a forward pass, which is not counted
constexpr int kSequences = 16;
constexpr std::size_t kVocabulary = 150'000;

void print(const char* figure, double us) {
  std::printf("{\"figure\": \"%s\", \"us\": %.6g}\n", figure, us);
  std::fflush(stdout);
}

/// From the sending of a message on one thread to its arrival on another that sleeps.
void message_hop() {
  Channel<int> there;
  Channel<int> back;
  std::jthread echo([&] {
    while (const auto value = there.receive()) back.send(*value);
  });
  print("channel hop", median_us(kRepeats, [&](int i) {
                         there.send(i);
                         back.receive();
                       }) / 2);
  there.close();
}

/// Logits as a model gives them: most of them far below a few.
std::vector<float> plausible_logits() {
  std::mt19937 random(1);
  std::normal_distribution<float> bulk(0.0F, 2.0F);
  std::vector<float> logits(kVocabulary);
  std::ranges::generate(logits, [&] { return bulk(random); });
  for (int i = 0; i < 20; ++i) {
    logits[random() % kVocabulary] = 16.0F - 0.4F * static_cast<float>(i);
  }
  return logits;
}

/// The target's choice at the next positions of a text.
double choice_us(const Vocabulary& vocabulary, SamplingOptions options) {
  options.seed = 1;
  SamplerChain chain(vocabulary, options, std::vector<Token>(100, 1));
  std::vector<float> logits = plausible_logits();
  return median_us(kChoices, [&](int) {
    const auto token = chain.choose(logits);
    if (!token) std::abort();
    chain.accept(*token);
  });
}

void choices(const Vocabulary& vocabulary) {
  SamplingOptions options;
  print("choice, greedy", choice_us(vocabulary, options));
  options.temperature = 0.8F;
  print("choice, temperature", choice_us(vocabulary, options));
  options.top_p = 0.95F;
  print("choice, top-p", choice_us(vocabulary, options));
  options.top_k = 40;
  print("choice, top-k and top-p", choice_us(vocabulary, options));
  options = {};
  options.repeat_penalty = 1.1F;
  print("choice, greedy with penalties", choice_us(vocabulary, options));

  const std::vector<float> logits = plausible_logits();
  print("draft's ranking", median_us(kChoices, [&](int i) {
          const PositionNoise noise(1, i);
          if (rank(ScoreRow(logits).largest(kDraftCandidates), &noise, 4).empty()) std::abort();
        }));
}

void branches(LlamaContext& context, int used) {
  // Sequences 0 and 2 share a prefix and differ in their tails; 1 is forked from either in turn.
  const Pos base = used - kTail;
  bench::fill(context, 0, base, 5);
  for (const SeqId seq : {1, 2}) context.fork({0, seq, 0, 0, base});
  bench::fill(context, 0, kTail, 6);
  bench::fill(context, 2, kTail, 7);
  context.fork({0, 1, base, base, used});
  print("fork", median_us(kRepeats,
                          [&](int i) { context.fork({i % 2 == 0 ? 2 : 0, 1, base, used, used}); }));
  print("rollback",
        median_us(
            kRollbacks, [&](int) { bench::fill(context, 0, used - context.length(0), 6); },
            [&](int) { context.truncate({0, used, base}); }));

  KvLedger ledger;
  ledger.reset(std::vector<Token>(static_cast<std::size_t>(used), 5), kSequences);
  constexpr int kCommits = 1024;  // one is too short for the clock
  print("commit", median_us(kRepeats, [&](int) {
                    for (int i = 0; i < kCommits; ++i) ledger.commit(6);
                  }) / kCommits);
}

void run(const std::string& path, int n_ctx) {
  ModelOptions options;
  options.path = path;
  options.n_ctx = n_ctx;
  options.n_threads = 1;
  const auto weights = Weights::load(options, [](float) { return true; });
  const std::atomic<bool> abort{false};
  LlamaContext context(weights, options, {kSequences, n_ctx + 64, 1}, &abort);
  message_hop();
  branches(context, n_ctx - kTail);
  choices(weights->vocabulary());
}

}  // namespace

int main(int argc, char** argv) {
  const int n_ctx = argc > 2 ? std::atoi(argv[2]) : 4096;
  if (argc < 2 || n_ctx < 256) {
    std::fprintf(stderr, "usage: %s MODEL.gguf [n_ctx, at least 256]\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], n_ctx);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
