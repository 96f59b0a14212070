#include "specbranch/llama/context/sizes.h"

#include <algorithm>
#include <string>

#include "llama.h"
#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

constexpr int kAutoSequences = 16;

}  // namespace

int max_sequences() { return static_cast<int>(llama_max_parallel_sequences()); }

PairSizes pair_sizes(int max_draft, int max_branches, const ModelOptions& draft, int n_parallel) {
  if (n_parallel < 1) {
    throw InvalidArgument("n_parallel is " + std::to_string(n_parallel) +
                          "; it must be at least 1");
  }
  PairSizes sizes;
  sizes.n_parallel = n_parallel;
  // A batch may have the rows of several texts.
  sizes.max_verify = n_parallel > 1 ? kMaxVerify : std::min(2 * max_draft + 2, kMaxVerify);
  const int of_auto = std::min(kAutoSequences, draft.n_batch / n_parallel);
  sizes.n_seq = std::min(n_parallel * std::max(2 * max_branches + 2, of_auto),
                         max_sequences() / n_parallel * n_parallel);
  // A branch may hold two rounds of drafted tokens.
  sizes.reserve = sizes.n_seq * (2 * max_draft + 8);
  return sizes;
}

void check_draft_batch(const ModelOptions& draft, const PairSizes& sizes, int max_branches) {
  if (draft.n_batch >= sizes.n_seq) return;
  const std::string texts =
      sizes.n_parallel > 1 ? " and n_parallel=" + std::to_string(sizes.n_parallel) : "";
  throw InvalidArgument("draft_n_batch is " + std::to_string(draft.n_batch) +
                        "; with max_branches=" + std::to_string(max_branches) + texts +
                        " it must be at least " + std::to_string(sizes.n_seq));
}

}  // namespace specbranch::llama
