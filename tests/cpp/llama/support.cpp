#include "support.h"
#include "specbranch/base/process.h"
#include "specbranch/model/single_session.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <random>

namespace specbranch::llama::testing {
namespace {

std::string model_path(const char* variable, const char* bundled) {
  if (const char* path = std::getenv(variable)) return path;
  const auto path = std::filesystem::path(SPECBRANCH_BUNDLED_MODELS) / bundled;
  return std::filesystem::exists(path) ? path.string() : std::string();
}

std::shared_ptr<const Weights> load(const std::string& path) {
  ModelOptions options;
  options.path = path;
  return Weights::load(options);
}

}  // namespace

std::string target_path() { return model_path("SPECBRANCH_TEST_TARGET", "demo-target.gguf"); }
std::string draft_path() { return model_path("SPECBRANCH_TEST_DRAFT", "demo-draft.gguf"); }

std::shared_ptr<const Weights> target_weights() {
  static const auto weights = load(target_path());
  return weights;
}

std::shared_ptr<const Weights> draft_weights() {
  static const auto weights = load(draft_path());
  return weights;
}

ModelOptions small_options(const std::string& path) {
  ModelOptions options;
  options.path = path;
  options.n_ctx = 1024;
  options.n_threads = 1;
  return options;
}

Request request_of(const std::vector<Token>& prompt, const SamplingOptions& sampling) {
  Request request;
  request.prompt = prompt;
  request.sampling = sampling;
  return request;
}

std::filesystem::path temporary_file(const std::string& name) {
  return std::filesystem::temp_directory_path() / (name + "." + std::to_string(process_id()));
}

std::vector<Token> code_prompt(int n) {
  std::string text;
  for (int i = 0; static_cast<int>(text.size()) < 4 * n; ++i) {
    const std::string name = "value_" + std::to_string(i * 7 % 31);
    text += "def read_" + name + "(self, path, mode='r'):\n    \"\"\"Return " + name +
            ".\"\"\"\n    with open(path, mode) as file:\n        return file.read()[" +
            std::to_string(i) + ":]\n\n";
  }
  auto tokens = target_weights()->vocabulary().tokenize(text, true, false);
  REQUIRE(static_cast<int>(tokens.size()) >= n);
  tokens.resize(static_cast<std::size_t>(n));
  return tokens;
}

SamplingOptions hot(std::uint64_t seed) {
  SamplingOptions sampling;
  sampling.temperature = 1.0F;
  sampling.seed = seed;
  return sampling;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  float largest = 0.0F;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

std::vector<Token> generate(LlamaTarget& target, const Request& request, int n) {
  begin(target, request);
  std::vector<Token> tokens;
  Token last = request.prompt.back();
  while (static_cast<int>(tokens.size()) < n) {
    const Verification verification = verify(target, target.length(0), std::span(&last, 1));
    if (verification.choices.empty()) break;
    REQUIRE(verification.choices.size() == 1);
    last = verification.choices.front().token;
    tokens.push_back(last);
    if (verification.choices.front().end) break;
  }
  return tokens;
}

std::vector<Token> generate_with_drafts(LlamaTarget& target, const Request& request,
                                        const std::vector<Token>& truth, int max_draft,
                                        double hit_rate, unsigned seed) {
  std::mt19937 random(seed);
  begin(target, request);
  std::vector<Token> tokens;
  Token last = request.prompt.back();
  const int n_vocab = target.capabilities().n_vocab;
  while (tokens.size() < truth.size()) {
    std::vector<Token> path{last};
    const auto n = static_cast<std::size_t>(random() % static_cast<unsigned>(max_draft + 1));
    for (std::size_t i = 0; i < n && tokens.size() + i < truth.size(); ++i) {
      const bool hit = random() % 1000 < static_cast<unsigned>(hit_rate * 1000);
      const Token right = truth[tokens.size() + i];
      path.push_back(hit ? right : (right + 1 + static_cast<Token>(random() % 99)) % n_vocab);
    }
    const Pos before = target.length(0);
    const Verification verification = verify(target, before, path);
    REQUIRE(target.length(0) == before + static_cast<Pos>(path.size()));
    if (verification.choices.empty()) break;
    bool end = false;
    for (const Choice& choice : verification.choices) {
      tokens.push_back(choice.token);
      end = choice.end;
    }
    if (end) break;
    last = tokens.back();
    target.truncate({0, target.length(0), before + static_cast<Pos>(verification.choices.size())});
  }
  return tokens;
}

}  // namespace specbranch::llama::testing
