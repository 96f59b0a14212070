// What a fork of a draft branch costs, by how much of a fixed context is used, next to the bare
// llama.cpp calls that it is made of.
//
//   build/llama/specbranch_fork_cost MODEL.gguf [n_ctx]
#include <llama.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "model_main.h"
#include "specbranch/llama/context/context.h"
#include "specbranch/tree/kv_ledger.h"
#include "timing.h"

namespace {

using namespace specbranch;
using namespace specbranch::llama;
using bench::median_us;

constexpr int kTail = 8;  // tokens that two branches do not share
constexpr int kRepeats = 401;
constexpr int kSequences = 16;

/// The calls of one fork on a context of llama.cpp's own, filled in the same way.
class Bare {
 public:
  Bare(llama_model* model, int n_ctx) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<std::uint32_t>(n_ctx);
    params.n_batch = params.n_ubatch = 512;
    params.n_seq_max = kSequences;
    params.kv_unified = true;
    params.n_threads = params.n_threads_batch = 1;
    context_.reset(llama_init_from_model(model, params));
    if (!context_) throw std::runtime_error("no context");
  }

  void fill(SeqId seq, Pos from, Pos to, Token token) {
    llama_batch batch = llama_batch_init(512, 0, 1);
    while (from < to) {
      batch.n_tokens = std::min(512, to - from);
      for (int i = 0; i < batch.n_tokens; ++i) {
        batch.token[i] = token;
        batch.pos[i] = from++;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = seq;
        batch.logits[i] = 0;
      }
      if (llama_decode(context_.get(), batch) != 0) throw std::runtime_error("decode failed");
    }
    llama_batch_free(batch);
  }

  void copy(SeqId from, SeqId to, Pos begin, Pos end) {
    llama_memory_seq_rm(memory(), to, begin, -1);
    llama_memory_seq_cp(memory(), from, to, begin, end);
  }

 private:
  llama_memory_t memory() { return llama_get_memory(context_.get()); }
  ContextHandle context_;
};

void run(const std::string& path, int n_ctx) {
  ModelOptions options;
  options.path = path;
  options.n_ctx = n_ctx;
  options.n_threads = 1;
  const auto weights = Weights::load(options, [](float) { return true; });
  const std::atomic<bool> abort{false};
  LlamaContext context(weights, options, {kSequences, n_ctx + 64, 1}, &abort);

  std::printf("n_ctx %d, %d sequences, tails of %d tokens; medians of %d in microseconds\n", n_ctx,
              kSequences, kTail, kRepeats);
  std::printf("| used | fork | llama.cpp calls | bare calls | fork / bare | commit |\n");
  std::printf("| --- | --- | --- | --- | --- | --- |\n");
  for (const int used : {1024, 8192, n_ctx - kTail}) {
    const Pos base = used - kTail;
    // Sequences 0 and 2 share a prefix and differ in their tails; 1 is forked from either in turn.
    for (const SeqId seq : {1, 2}) context.truncate({seq, context.length(seq), 0});
    context.truncate({0, context.length(0), std::min(context.length(0), base)});
    bench::fill(context, 0, base - context.length(0), 5);
    context.fork({0, 2, 0, 0, base});
    context.fork({0, 1, 0, 0, base});
    bench::fill(context, 0, kTail, 6);
    bench::fill(context, 2, kTail, 7);
    context.fork({0, 1, base, base, used});
    const std::int64_t before = context.n_memory_calls();
    const double fork_us = median_us(
        kRepeats, [&](int i) { context.fork({i % 2 == 0 ? 2 : 0, 1, base, used, used}); });
    const double calls =
        static_cast<double>(context.n_memory_calls() - before) / static_cast<double>(kRepeats);

    Bare bare(weights->get(), context.n_cells());
    bare.fill(0, 0, base, 5);
    bare.copy(0, 1, 0, base);
    bare.copy(0, 2, 0, base);
    bare.fill(0, base, used, 6);
    bare.fill(2, base, used, 7);
    const double bare_us =
        median_us(kRepeats, [&](int i) { bare.copy(i % 2 == 0 ? 2 : 0, 1, base, used); });

    // A commit touches no sequence: only the ledger grows.
    KvLedger ledger;
    ledger.reset(std::vector<Token>(static_cast<std::size_t>(used), 5), kSequences);
    const double commit_us = median_us(kRepeats, [&](int) { ledger.commit(6); });
    std::printf("| %d | %.1f | %.0f | %.1f | %.2f | %.3f |\n", used, fork_us, calls, bare_us,
                fork_us / bare_us, commit_us);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return specbranch::bench::model_main(argc, argv, "MODEL.gguf", run);
}
