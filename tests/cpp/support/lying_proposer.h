/// A source of drafts from the text that lies: whatever it proposes, the text must not change.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "specbranch/lookup/proposer.h"
#include "support/support.h"

namespace specbranch::test {

/// Proposes the true token with probability `truth`, else any token, each with any probability.
class LyingProposer final : public Proposer {
 public:
  /// `text`: what follows the prompt of `n_prompt` tokens.
  LyingProposer(std::uint64_t seed, double truth, int n_vocab, std::vector<Token> text,
                Pos n_prompt)
      : random_(seed),
        truth_(truth),
        n_vocab_(n_vocab),
        text_(std::move(text)),
        n_prompt_(n_prompt) {}

  void commit(Token token) override {
    const std::size_t i = n_committed_++;
    CHECK((i >= text_.size() || text_[i] == token));
  }

  std::optional<Proposal> propose(const SpeculationTree& tree, NodeId node) override {
    // The tree is rooted at the newest committed token.
    CHECK(tree.at(tree.root()).pos == n_prompt_ + static_cast<Pos>(n_committed_) - 1);
    if (random_.chance(0.1)) return std::nullopt;
    const auto next = static_cast<std::size_t>(tree.at(node).pos + 1 - n_prompt_);
    const bool true_token = random_.chance(truth_) && next < text_.size();
    const Token token = true_token ? text_[next] : random_.between(0, n_vocab_ - 1);
    const double probability = random_.pick({0.05, 0.5, 0.9, 0.99, 1.0});
    return Proposal{token, probability,
                    random_.pick({TokenSource::kText, TokenSource::kPrediction})};
  }

 private:
  Random random_;
  double truth_;
  int n_vocab_;
  std::vector<Token> text_;
  Pos n_prompt_;
  std::size_t n_committed_ = 0;
};

inline std::unique_ptr<Proposer> make_liar(const Scenario& scenario, std::vector<Token> text,
                                           std::uint64_t seed) {
  Random random(seed);
  return std::make_unique<LyingProposer>(random.next(), random.pick({0.0, 0.5, 0.9, 1.0}),
                                         scenario.target.n_vocab, std::move(text),
                                         static_cast<Pos>(scenario.request.prompt.size()));
}

}  // namespace specbranch::test
