#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/model/hrad.h"

namespace specbranch {
namespace {

HradWeights random_weights(int n_layers, int n_embd, int n_hidden1, int n_hidden2, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto fill = [&](int n, float spread) {
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) value = spread * normal(random);
    return values;
  };
  HradWeights w;
  w.n_layers = n_layers;
  w.n_embd = n_embd;
  const int n_inputs = w.n_inputs();
  const auto spread = [](int n) { return 1.5F / std::sqrt(static_cast<float>(n)); };
  w.mean = fill(n_inputs, 0.5F);
  w.scale = fill(n_inputs, 1.0F);
  w.w1 = fill(n_hidden1 * n_inputs, spread(n_inputs));
  w.b1 = fill(n_hidden1, 0.1F);
  w.w2 = fill(n_hidden2 * n_hidden1, spread(n_hidden1));
  w.b2 = fill(n_hidden2, 0.1F);
  w.w3 = fill(3 * n_hidden2, 3.0F * spread(n_hidden2));
  w.b3 = fill(3, 0.1F);
  return w;
}

std::vector<double> dense_in_double(const std::vector<float>& weights,
                                    const std::vector<float>& bias,
                                    const std::vector<double>& inputs, bool relu) {
  std::vector<double> outputs;
  for (std::size_t row = 0; row < bias.size(); ++row) {
    double sum = static_cast<double>(bias[row]);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      sum += static_cast<double>(weights[row * inputs.size() + i]) * inputs[i];
    }
    outputs.push_back(relu ? std::max(0.0, sum) : sum);
  }
  return outputs;
}

std::vector<double> probabilities_in_double(const HradWeights& w, std::span<const float> features) {
  std::vector<double> x;
  for (std::size_t i = 0; i < features.size(); ++i) {
    x.push_back((static_cast<double>(features[i]) - static_cast<double>(w.mean[i])) *
                static_cast<double>(w.scale[i]));
  }
  x = dense_in_double(w.w1, w.b1, x, true);
  x = dense_in_double(w.w2, w.b2, x, true);
  x = dense_in_double(w.w3, w.b3, x, false);
  double sum = 0.0;
  for (double& score : x) sum += score = std::exp(score);
  for (double& score : x) score /= sum;
  return x;
}

std::vector<float> random_features(const HradWeights& w, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> features(static_cast<std::size_t>(w.n_inputs()));
  for (float& feature : features) feature = normal(random);
  return features;
}

TEST_CASE("the classifier computes what the same arithmetic in double gives") {
  struct Shape {
    int n_layers, n_embd, n_hidden1, n_hidden2;
  };
  std::mt19937 random(1);
  int n_decided = 0;
  for (const Shape& s : {Shape{4, 256, 256, 64}, {1, 1, 1, 1}, {3, 37, 33, 65}, {4, 1024, 40, 9}}) {
    CAPTURE(s.n_embd);
    const auto weights = std::make_shared<const HradWeights>(
        random_weights(s.n_layers, s.n_embd, s.n_hidden1, s.n_hidden2, 7));
    HradClassifier classifier(weights);
    CHECK(classifier.n_inputs() == (s.n_layers + 1) * s.n_embd);
    for (int i = 0; i < 20; ++i) {
      const auto features = random_features(*weights, random);
      const auto got = classifier.probabilities(features);
      const auto truth = probabilities_in_double(*weights, features);
      for (std::size_t c = 0; c < 3; ++c) {
        CHECK(std::abs(static_cast<double>(got[c]) - truth[c]) < 2e-5);
      }
      CHECK(std::abs(got[0] + got[1] + got[2] - 1.0F) < 1e-5F);
      n_decided += *std::ranges::max_element(got) > 0.6F ? 1 : 0;
    }
  }
  CHECK(n_decided > 10);  // the comparison is not one of three thirds
}

TEST_CASE("a call leaves nothing behind for the next one") {
  std::mt19937 random(2);
  const auto weights = std::make_shared<const HradWeights>(random_weights(2, 24, 16, 8, 3));
  HradClassifier used(weights);
  const auto a = random_features(*weights, random);
  const auto b = random_features(*weights, random);
  const auto before = used.probabilities(a);
  used.probabilities(b);
  CHECK(used.probabilities(a) == before);
  HradClassifier fresh(weights);
  CHECK(fresh.probabilities(a) == before);
}

TEST_CASE("features that are no numbers leave the decision to the confidence rule") {
  std::mt19937 random(3);
  const auto weights = std::make_shared<const HradWeights>(random_weights(2, 24, 16, 8, 3));
  HradClassifier classifier(weights);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto features = random_features(*weights, random);
    features[5] = bad;
    const auto got = classifier.probabilities(features);
    // An infinite input may end in a cut-off unit: then the result is still a distribution.
    CHECK(std::abs(got[0] + got[1] + got[2] - 1.0F) < 1e-5F);
  }
  auto features = random_features(*weights, random);
  features[0] = std::numeric_limits<float>::quiet_NaN();
  CHECK(classifier.probabilities(features) == std::array<float, 3>{0.0F, 1.0F, 0.0F});
}

TEST_CASE("weights that do not fit together are refused by name and size") {
  const auto refused = [](auto change) -> std::string {
    auto weights = std::make_shared<HradWeights>(random_weights(2, 24, 16, 8, 3));
    change(*weights);
    try {
      HradClassifier{std::shared_ptr<const HradWeights>(weights)};
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK(refused([](HradWeights&) {}) == "accepted");
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(refused([](HradWeights& w) { w.n_layers = 0; }), "n_layers is 0"));
  CHECK(has(refused([](HradWeights& w) { w.n_embd = -4; }), "n_embd is -4"));
  CHECK(has(refused([](HradWeights& w) { w.n_embd = 1 << 20; }), "inputs"));
  CHECK(has(refused([](HradWeights& w) { w.n_embd = 25; }), "mean has 72 numbers"));
  CHECK(has(refused([](HradWeights& w) { w.scale.pop_back(); }), "scale has 71 numbers"));
  CHECK(has(refused([](HradWeights& w) { w.w1.push_back(0); }), "w1 has 1153"));
  CHECK(has(refused([](HradWeights& w) { w.b1.clear(); }), "b1 is 0"));
  CHECK(has(refused([](HradWeights& w) { w.b2.clear(); }), "b2 is 0"));
  CHECK(has(refused([](HradWeights& w) { w.b2.push_back(0); }), "w2 has 128 numbers"));
  CHECK(has(refused([](HradWeights& w) { w.b3.push_back(0); }), "b3 has 4 numbers"));
  CHECK(has(refused([](HradWeights& w) { w.w3.clear(); }), "w3 has 0 numbers"));
  CHECK_THROWS_AS(HradClassifier{nullptr}, InvalidArgument);

  HradClassifier classifier(std::make_shared<const HradWeights>(random_weights(2, 24, 16, 8, 3)));
  const std::vector<float> features(71);
  CHECK_THROWS_AS(classifier.probabilities(features), InvalidArgument);
}

}  // namespace
}  // namespace specbranch
