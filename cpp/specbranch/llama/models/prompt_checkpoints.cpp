#include "specbranch/llama/models/prompt_checkpoints.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"

namespace specbranch::llama {

/// The state is of a prefix of `tokens`, computed with `adapters`.
bool PromptCheckpoints::serves(const Checkpoint& checkpoint, const AdapterSet& adapters,
                               std::span<const Token> tokens) {
  const std::vector<Token>& prefix = checkpoint.tokens;
  return checkpoint.adapters == adapters && prefix.size() <= tokens.size() &&
         std::equal(prefix.begin(), prefix.end(), tokens.begin());
}

Pos PromptCheckpoints::begin(SeqId seq, SeqId like, std::span<const Token> tokens, Pos n_usable,
                             const AdapterSet& adapters) {
  const std::span<const Token> held = context_.content(like);
  const auto n_common = static_cast<Pos>(std::ranges::mismatch(held, tokens).in1 - held.begin());
  prompts_[seq] = {{n_common / chunk_ * chunk_, static_cast<Pos>(tokens.size()) / chunk_ * chunk_},
                   adapters};
  return longest(tokens, std::min(n_common, n_usable), adapters);
}

Pos PromptCheckpoints::longest(std::span<const Token> tokens, Pos most,
                               const AdapterSet& adapters) const {
  Pos found = 0;
  for (const Checkpoint* checkpoint : of(tokens, most, adapters)) {
    found = std::max(found, static_cast<Pos>(checkpoint->tokens.size()));
  }
  return found;
}

std::vector<const PromptCheckpoints::Checkpoint*> PromptCheckpoints::of(
    std::span<const Token> tokens, Pos most, const AdapterSet& adapters) const {
  std::vector<const Checkpoint*> found;
  for (const Checkpoint& checkpoint : checkpoints_) {
    const auto length = static_cast<Pos>(checkpoint.tokens.size());
    if (length <= most && serves(checkpoint, adapters, tokens)) found.push_back(&checkpoint);
  }
  return found;
}

void PromptCheckpoints::put(const Checkpoint& checkpoint) {
  const auto length = static_cast<Pos>(checkpoint.tokens.size());
  const auto found = find(length, checkpoint.adapters, checkpoint.tokens);
  if (found == checkpoints_.end()) {
    add(checkpoint);
  } else {
    std::rotate(found, found + 1, checkpoints_.end());
  }
}

void PromptCheckpoints::add(Checkpoint checkpoint) {
  if (checkpoints_.size() == most_) checkpoints_.erase(checkpoints_.begin());
  checkpoints_.push_back(std::move(checkpoint));
}

/// The state of the first `length` of `tokens`, or the end.
std::vector<PromptCheckpoints::Checkpoint>::iterator PromptCheckpoints::find(
    Pos length, const AdapterSet& adapters, std::span<const Token> tokens) {
  return std::ranges::find_if(checkpoints_, [&](const Checkpoint& checkpoint) {
    return static_cast<Pos>(checkpoint.tokens.size()) == length &&
           serves(checkpoint, adapters, tokens);
  });
}

void PromptCheckpoints::restore(SeqId seq, Pos length) {
  const auto found = find(length, prompts_.at(seq).adapters, context_.content(seq));
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
  const auto prompt = prompts_.find(seq);
  if (length == 0 || prompt == prompts_.end()) return;
  const auto& [borders, adapters] = prompt->second;
  if (std::ranges::find(borders, length) == borders.end()) return;
  if (find(length, adapters, held) != checkpoints_.end()) return;  // it is kept already
  try {
    add({{held.begin(), held.end()}, adapters, context_.save_state(seq)});
  } catch (const FatalError&) {
    throw;
  } catch (const DecodeError&) {  // the text goes on without it
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace specbranch::llama
