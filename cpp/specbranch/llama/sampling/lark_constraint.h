/// Lark grammars with JSON schemas and regular expressions in them, by llguidance.
#pragma once

#include <memory>
#include <string>

#include "specbranch/llama/sampling/token_constraint.h"

namespace specbranch::llama {

/// The texts of the rule `start`. A control token is allowed where the grammar names it: it counts
/// as its name there, although it adds nothing to the text. Throws InvalidArgument: llguidance is
/// not loaded, or `grammar` is not a Lark grammar.
std::unique_ptr<TokenConstraint> make_lark_constraint(const Vocabulary& vocabulary,
                                                      const std::string& grammar);

}  // namespace specbranch::llama
