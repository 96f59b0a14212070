/// GBNF grammars, by llama.cpp.
#pragma once

#include <memory>
#include <string>

#include "specbranch/llama/sampling/token_constraint.h"

namespace specbranch::llama {

/// The texts of the rule `root`, which are UTF-8. Throws InvalidArgument unless `grammar` is GBNF
/// with this rule.
std::unique_ptr<TokenConstraint> make_gbnf_constraint(const Vocabulary& vocabulary,
                                                      const std::string& grammar);

}  // namespace specbranch::llama
