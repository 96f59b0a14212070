#include "specbranch/lookup/forced_proposer.h"

#include <cstddef>
#include <utility>
#include <vector>

namespace specbranch {
namespace {

constexpr double kForcedDecay = 0.97;
constexpr double kForcedPriorWeight = 8.0;  ///< observations.
constexpr double kSurePrior = 0.96;
constexpr double kGuessPrior = 0.7;

}  // namespace

void ForcedProposer::commit(Token token) {
  if (texts_) texts_->commit(token);
  if (run_.tokens.empty()) return;
  RatioCount& record = sure(0) ? table_->forced_sure : table_->forced_guesses;
  const bool right = run_.take(token);
  record.found = kForcedDecay * record.found + (right ? 1.0 : 0.0);
  record.expected = kForcedDecay * record.expected + 1.0;
}

std::optional<Proposal> ForcedProposer::forced(const SpeculationTree& tree, NodeId node) const {
  const auto depth = static_cast<std::size_t>(tree.depth(node));
  if (depth >= run_.tokens.size()) return std::nullopt;
  for (std::size_t i = depth; i > 0; --i) {
    const Node& one = tree.at(node);
    if (one.token != run_.tokens[i - 1]) return std::nullopt;
    node = one.parent;
  }
  return Proposal{run_.tokens[depth], probability(sure(depth)), TokenSource::kGrammar};
}

double ForcedProposer::probability(bool sure) const {
  const RatioCount& record = sure ? table_->forced_sure : table_->forced_guesses;
  const double prior = sure ? kSurePrior : kGuessPrior;
  return (record.found + kForcedPriorWeight * prior) / (record.expected + kForcedPriorWeight);
}

std::optional<Proposal> ForcedProposer::propose(const SpeculationTree& tree, NodeId node) {
  const std::optional<Proposal> own = forced(tree, node);
  if (own && sure(static_cast<std::size_t>(tree.depth(node)))) return own;
  const std::optional<Proposal> text = texts_ ? texts_->propose(tree, node) : std::nullopt;
  if (!own || (text && text->probability > own->probability)) return text;
  return own;
}

std::unique_ptr<Proposer> with_forced(const Request& request, std::unique_ptr<Proposer> texts,
                                      PairProfile* profile) {
  if (!request.sampling.has_grammar()) return texts;
  const int of_temperature = temperature_class(request.sampling.temperature);
  return std::make_unique<ForcedProposer>(
      std::move(texts), &profile->lookup[static_cast<std::size_t>(of_temperature)]);
}

}  // namespace specbranch
