/// H-RAD (SpecBranch, arXiv:2506.01979): predicts how much of a drafted window the target accepts.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

namespace specbranch {

/// How much of a window of drafted tokens is accepted; in the order of the classifier's classes.
enum class WindowAcceptance : int {
  kNone = 0,  ///< its first token is rejected.
  kSome = 1,  ///< its first token is accepted, its last one is not.
  kAll = 2,   ///< the whole window is accepted.
};

/// A multilayer perceptron: n_inputs -> |b1| -> |b2| -> 3, with ReLU between. Matrices are stored
/// row by row, one row an output.
struct HradWeights {
  int n_layers = 0;          ///< K: layers of the target whose inputs it sees.
  int n_embd = 0;            ///< width of the target.
  std::vector<float> mean;   ///< of each input; x' = (x - mean) * scale.
  std::vector<float> scale;  ///< of each input.
  std::vector<float> w1, b1;
  std::vector<float> w2, b2;
  std::vector<float> w3, b3;

  /// K layers and the newest token's embedding.
  int n_inputs() const { return (n_layers + 1) * n_embd; }
};

/// Throws InvalidArgument for the first size that does not fit the others. Looks at no weight.
void validate(const HradWeights& weights);

/// *Thread safety:* one thread at a time; the weights may be shared.
class HradClassifier {
 public:
  /// Throws InvalidArgument for weights that are missing or do not fit together.
  explicit HradClassifier(std::shared_ptr<const HradWeights> weights);

  int n_inputs() const { return weights_->n_inputs(); }

  /// The probabilities of kNone, kSome and kAll; they add up to 1. `features` has the layout of
  /// `Verification::features`; another size throws InvalidArgument. NaN features give kSome.
  /// Allocates nothing. Cost: one pass over the weights (21 MB at a width of 4,096 and K = 4).
  std::array<float, 3> probabilities(std::span<const float> features);

 private:
  std::shared_ptr<const HradWeights> weights_;
  std::vector<float> inputs_, hidden1_, hidden2_;
};

}  // namespace specbranch
