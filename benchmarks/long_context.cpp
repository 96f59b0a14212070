// What a long context costs beside the forward passes: the first tokens of a second turn, and
// forks. A line of JSON for each figure, in microseconds, and a line with the calls into llama.cpp.
//
//   build/llama/specbranch_long_context MODEL.gguf [n_tokens ...]
//
// The draft is real. The target is synthetic and takes no time, so that only the draft's part of a
// latency is measured, in CPU time of the one thread, which other processes do not stretch. A model
// of one small layer is enough: no figure depends on the weights, and the prompt must be computed
// once for each length.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "specbranch/llama/models/draft.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "specbranch/simulation/virtual_run.h"
#include "timing.h"

namespace {

using namespace specbranch;
using namespace specbranch::llama;
constexpr int kSequences = 16;
constexpr int kTurns = 5;    // after the first one
constexpr int kMessage = 8;  // tokens that a turn adds to the text before
constexpr int kAnswer = 32;  // tokens of an answer
constexpr int kTail = 8;     // tokens that two branches do not share
constexpr int kForks = 401;
constexpr Pos kRoom = 1024;

/// CPU time of this thread, microseconds.
double cpu_us() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

/// One answer: from the request to its first token, and to its last token.
struct Turn {
  double first_us = 0.0;
  double all_us = 0.0;
  std::int64_t first_calls = 0;
  std::int64_t all_calls = 0;
};

class Chat {
 public:
  Chat(const std::shared_ptr<const Weights>& weights, ModelOptions options, int n_tokens)
      : n_vocab_(weights->vocabulary().size()) {
    options.n_ctx = n_tokens + kRoom;
    DraftOptions shape;
    shape.n_seq = kSequences;
    draft_ = std::make_unique<LlamaDraft>(weights, options, shape);
    SyntheticOptions synthetic;
    synthetic.n_vocab = n_vocab_;
    synthetic.n_ctx = options.n_ctx;
    target_ = make_synthetic_target(synthetic);
    for (int i = 0; i < n_tokens; ++i) text_.push_back(token(i));
  }

  Turn turn() {
    Request request;
    request.prompt = text_;
    request.max_tokens = kAnswer;
    request.mode = Mode::kSpecBranch;
    request.policy.epsilon =
        1.0;  // every token is a branch point: all sequences are in use at once
    request.max_branches = kSequences - 1;
    request.max_draft = 2;
    Turn turn;
    const std::int64_t before = calls();
    const double begin = cpu_us();
    int n_verifications = 0;
    VirtualOptions options;
    options.tamper_command = [&](const Command& command) {
      // The second verification follows the commit of the first token.
      if (!std::holds_alternative<VerifyCommand>(command.body) || ++n_verifications != 2) return;
      turn.first_us = cpu_us() - begin;
      turn.first_calls = calls() - before;
    };
    const VirtualResult result = run_virtually(request, *target_, draft_.get(), options);
    turn.all_us = cpu_us() - begin;
    turn.all_calls = calls() - before;
    if (result.error) std::rethrow_exception(result.error);
    if (n_verifications < 2) throw std::runtime_error("the answer has too few rounds");
    text_.insert(text_.end(), result.tokens.begin(), result.tokens.end());
    for (int i = 0; i < kMessage; ++i) text_.push_back(token(i));
    return turn;
  }

  /// One fork of a branch whose tail differs; sets the calls of one fork.
  double fork_us(double* n_calls) {
    const Pos end = draft_->length(0);
    const Pos base = end - kTail;
    for (SeqId seq = 1; seq < kSequences; ++seq) draft_->truncate({seq, draft_->length(seq), 0});
    draft_->fork({0, 1, 0, 0, end});
    draft_->fork({0, 2, 0, 0, base});
    const SequenceInput other{0, 2, base, std::vector<Token>(kTail, token(3))};
    draft_->draft(std::span(&other, 1), 1);
    const std::int64_t before = calls();
    const double us = bench::median_us(
        kForks, [&](int i) { draft_->fork({i % 2 == 0 ? 2 : 0, 1, base, end, end}); });
    *n_calls = static_cast<double>(calls() - before) / kForks;
    return us;
  }

 private:
  std::int64_t calls() const { return draft_->context().n_memory_calls(); }
  Token token(int i) const {
    return static_cast<Token>((static_cast<std::int64_t>(i) * 7919 + 1) % n_vocab_);
  }

  int n_vocab_;
  std::unique_ptr<LlamaDraft> draft_;
  std::unique_ptr<TargetModel> target_;
  std::vector<Token> text_;
};

void print(int n_tokens, const char* figure, double us) {
  std::printf("{\"figure\": \"%d tokens: %s\", \"us\": %.6g}\n", n_tokens, figure, us);
  std::fflush(stdout);
}

void run(const std::shared_ptr<const Weights>& weights, const ModelOptions& options, int n_tokens) {
  Chat chat(weights, options, n_tokens);
  chat.turn();  // computes the prompt
  std::vector<double> first;
  std::vector<double> all;
  Turn turn;
  for (int i = 0; i < kTurns; ++i) {
    turn = chat.turn();
    first.push_back(turn.first_us);
    all.push_back(turn.all_us);
  }
  double fork_calls = 0.0;
  const double fork_us = chat.fork_us(&fork_calls);
  print(n_tokens, "first token of a later turn", bench::median(first));
  print(n_tokens, "answer of 32 tokens in a later turn", bench::median(all));
  print(n_tokens, "fork", fork_us);
  std::printf("calls at %d tokens: %lld before the first token, %lld in the answer, %.0f a fork\n",
              n_tokens, static_cast<long long>(turn.first_calls),
              static_cast<long long>(turn.all_calls), fork_calls);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL.gguf [n_tokens ...]\n", argv[0]);
    return 2;
  }
  try {
    ModelOptions options;
    options.path = argv[1];
    options.n_threads = 1;
    const auto weights = Weights::load(options, [](float) { return true; });
    std::vector<int> lengths;
    for (int i = 2; i < argc; ++i) lengths.push_back(std::max(64, std::atoi(argv[i])));
    if (lengths.empty()) lengths = {8192, 32768, 131072};
    for (const int n_tokens : lengths) run(weights, options, n_tokens);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
