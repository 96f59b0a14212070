#include "specbranch/llama/models/prompt_checkpoints.h"

#include <algorithm>
#include <string>

#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

bool begins_with(std::span<const Token> tokens, std::span<const Token> prefix) {
  return prefix.size() <= tokens.size() && std::equal(prefix.begin(), prefix.end(), tokens.begin());
}

}  // namespace

Pos PromptCheckpoints::begin(SeqId seq, SeqId like, std::span<const Token> tokens, Pos n_usable) {
  const std::span<const Token> held = context_.content(like);
  const auto n_common = static_cast<Pos>(std::ranges::mismatch(held, tokens).in1 - held.begin());
  borders_[seq] = {n_common / chunk_ * chunk_, static_cast<Pos>(tokens.size()) / chunk_ * chunk_};
  Pos longest = 0;
  for (const Checkpoint& checkpoint : checkpoints_) {
    const auto length = static_cast<Pos>(checkpoint.tokens.size());
    if (length <= std::min(n_common, n_usable) && begins_with(tokens, checkpoint.tokens)) {
      longest = std::max(longest, length);
    }
  }
  return longest;
}

void PromptCheckpoints::restore(SeqId seq, Pos length) {
  const std::span<const Token> held = context_.content(seq);
  const auto found = std::ranges::find_if(checkpoints_, [&](const Checkpoint& checkpoint) {
    return static_cast<Pos>(checkpoint.tokens.size()) == length &&
           begins_with(held, checkpoint.tokens);
  });
  if (found == checkpoints_.end()) {
    throw PreconditionError("[PromptCheckpoints::restore] there is no state of " +
                            std::to_string(length) + " tokens");
  }
  context_.restore_state(seq, length, found->state);
  std::rotate(found, found + 1, checkpoints_.end());
}

void PromptCheckpoints::passed(SeqId seq) {
  const std::span<const Token> held = context_.content(seq);
  const auto length = static_cast<Pos>(held.size());
  const auto borders = borders_.find(seq);
  if (length == 0 || borders == borders_.end()) return;
  if (std::ranges::find(borders->second, length) == borders->second.end()) return;
  const bool known = std::ranges::any_of(checkpoints_, [&](const Checkpoint& checkpoint) {
    return std::ranges::equal(checkpoint.tokens, held);
  });
  if (known) return;
  Checkpoint checkpoint{{held.begin(), held.end()}, context_.save_state(seq)};
  if (checkpoints_.size() == kMost) checkpoints_.erase(checkpoints_.begin());
  checkpoints_.push_back(std::move(checkpoint));
}

}  // namespace specbranch::llama
