#include "specbranch/llama/sampling/token_constraint.h"

#include "specbranch/llama/sampling/gbnf_constraint.h"
#include "specbranch/llama/sampling/lark_constraint.h"

namespace specbranch::llama {

std::unique_ptr<TokenConstraint> make_constraint(const Vocabulary& vocabulary,
                                                 const SamplingOptions& options) {
  if (!options.grammar.empty()) return make_gbnf_constraint(vocabulary, options.grammar);
  if (!options.lark.empty()) return make_lark_constraint(vocabulary, options.lark);
  return nullptr;
}

void check_constraint(const Vocabulary& vocabulary, const SamplingOptions& options) {
  make_constraint(vocabulary, options);
}

}  // namespace specbranch::llama
