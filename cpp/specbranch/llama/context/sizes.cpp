#include "specbranch/llama/context/sizes.h"

#include <algorithm>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

constexpr int kAutoSequences = 16;
constexpr int kSequenceLimit = 256;

}  // namespace

PairSizes pair_sizes(int max_draft, int max_branches, const ModelOptions& draft) {
  PairSizes sizes;
  sizes.max_verify = std::min(2 * max_draft + 2, kMaxVerify);
  sizes.n_seq = std::min(std::max(2 * max_branches + 2, std::min(kAutoSequences, draft.n_batch)),
                         kSequenceLimit);
  // A branch may hold two rounds of drafted tokens.
  sizes.reserve = sizes.n_seq * (2 * max_draft + 8);
  return sizes;
}

void check_draft_batch(const ModelOptions& draft, const PairSizes& sizes, int max_branches) {
  if (draft.n_batch >= sizes.n_seq) return;
  throw InvalidArgument("draft_n_batch is " + std::to_string(draft.n_batch) +
                        "; with max_branches=" + std::to_string(max_branches) +
                        " it must be at least " + std::to_string(sizes.n_seq));
}

}  // namespace specbranch::llama
