// The inputs of the target's last layers, and the embedding of its newest token.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "llama.h"
#include "llama_extra.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/file/embedding_table.h"
#include "specbranch/model/single_session.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr int kLayers = 4;

Request with_features(Request request, int n_layers = kLayers) {
  request.n_feature_layers = n_layers;
  return request;
}

std::size_t n_embd() { return static_cast<std::size_t>(target_weights()->file().n_embd); }

/// Largest difference over the largest value.
float distance(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  float most = 0.0F;
  float scale = 0.0F;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(a[i]));
  }
  return most / scale;
}

TEST_CASE("features come from the row of the last accepted token") {
  SPECBRANCH_NEEDS_MODELS();
  const auto weights = target_weights();
  REQUIRE(weights->n_feature_layers() == weights->file().n_layers - 1);
  auto options = small_options(target_path());
  const Request request = with_features(request_of(code_prompt(140)));

  // One token at a time: the row is the only one there is.
  LlamaTarget single(weights, options, {});
  std::vector<std::vector<float>> truth;
  std::vector<Token> text;
  Token last = request.prompt.back();
  begin(single, request);
  for (int i = 0; i < 8; ++i) {
    const Verification verification = verify(single, single.length(0), std::span(&last, 1));
    truth.push_back(verification.features);
    last = verification.choices.front().token;
    text.push_back(last);
    REQUIRE(truth.back().size() == (kLayers + 1) * n_embd());
  }
  for (std::size_t i = 1; i < truth.size(); ++i) CHECK(distance(truth[i - 1], truth[i]) > 0.1F);

  const auto check = [&](LlamaTarget& target, std::size_t n_right, int n_pad) {
    CAPTURE(n_right);
    begin(target, request);
    std::vector<Token> path{request.prompt.back()};
    path.insert(path.end(), text.begin(), text.begin() + static_cast<std::ptrdiff_t>(n_right));
    const bool with_wrong = n_right < 7;
    if (with_wrong) path.push_back((text[n_right] + 1) % target.capabilities().n_vocab);
    if (with_wrong) path.push_back(5);
    const Verification verification = verify(target, target.length(0), path, n_pad);
    REQUIRE(verification.choices.size() == n_right + 1);
    CHECK(distance(verification.features, truth[n_right]) < 1e-2F);
    for (std::size_t i = 0; i < truth.size(); ++i) {
      if (i != n_right) CHECK(distance(verification.features, truth[i]) > 0.1F);
    }
  };
  LlamaTarget target(weights, options, {});
  for (std::size_t n_right = 0; n_right < 8; ++n_right) check(target, n_right, n_right % 3 ? 2 : 0);
  SUBCASE("when llama.cpp splits the batch") {
    options.n_ubatch = 4;
    LlamaTarget split(weights, options, {});
    for (std::size_t n_right = 0; n_right < 8; ++n_right) check(split, n_right, 2);
  }
}

TEST_CASE("fewer layers are the last ones of more layers") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  const Request request = request_of(code_prompt(60));
  const auto features = [&](int n_layers) {
    begin(target, with_features(request, n_layers));
    return verify(target, 59, std::span(&request.prompt.back(), 1)).features;
  };
  const int most = target.capabilities().n_feature_layers;
  const auto all = features(most);
  REQUIRE(all.size() == static_cast<std::size_t>(most + 1) * n_embd());
  for (const int n_layers : {1, 2, most - 1, most}) {
    CAPTURE(n_layers);
    const auto some = features(n_layers);
    REQUIRE(some.size() == static_cast<std::size_t>(n_layers + 1) * n_embd());
    CHECK(
        std::equal(some.begin(), some.end(), all.end() - static_cast<std::ptrdiff_t>(some.size())));
  }
  CHECK(features(0).empty());
}

TEST_CASE("the embedding of a token is what the first layer gets for it") {
  SPECBRANCH_NEEDS_MODELS();
  const auto weights = target_weights();
  EmbeddingTable table(weights->file());
  REQUIRE(table.n_embd() == static_cast<int>(n_embd()));
  REQUIRE(table.n_tokens() == weights->vocabulary().size());

  // Layer 0 is beyond what the engine gives: straight from llama.cpp.
  llama_context_params params = llama_context_default_params();
  params.n_ctx = 256;
  params.n_threads = 1;
  const ContextHandle context(llama_init_from_model(weights->get(), params));
  REQUIRE(context);
  llama_set_embeddings_layer_inp(context.get(), 0, true);
  std::vector<Token> tokens{0, 1, table.n_tokens() - 1, 17, 999};
  REQUIRE(llama_decode(context.get(), llama_batch_get_one(tokens.data(), 5)) == 0);
  const float* rows = llama_get_embeddings_layer_inp(context.get(), 0);
  std::vector<float> row(n_embd());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    CAPTURE(tokens[i]);
    table.read(tokens[i], row);
    CHECK(std::equal(row.begin(), row.end(), rows + i * n_embd()));
  }

  LlamaTarget target(weights, small_options(target_path()), {});
  const Request request = with_features(request_of(code_prompt(30)));
  begin(target, request);
  const Verification verification = verify(target, 29, std::span(&request.prompt.back(), 1));
  table.read(verification.choices.back().token, row);
  CHECK(std::equal(row.begin(), row.end(),
                   verification.features.end() - static_cast<std::ptrdiff_t>(row.size())));

  CHECK_THROWS_AS(table.read(-1, row), PreconditionError);
  CHECK_THROWS_AS(table.read(table.n_tokens(), row), PreconditionError);
  CHECK_THROWS_AS(table.read(0, std::span(row).first(3)), PreconditionError);
}

TEST_CASE("a file that is gone or cut off is an error, not a crash") {
  SPECBRANCH_NEEDS_MODELS();
  const auto path = temporary_file("specbranch_features_test.gguf");
  std::filesystem::copy_file(target_path(), path,
                             std::filesystem::copy_options::overwrite_existing);
  const ModelFile file = inspect_model_file(path.string());
  std::vector<float> row(n_embd());
  EmbeddingTable table(file);
  table.read(file.n_vocab - 1, row);
  std::filesystem::resize_file(path, file.embedding.offset + 10);
  CHECK_THROWS_AS(table.read(file.n_vocab - 1, row), DecodeError);
  CHECK_THROWS_AS(EmbeddingTable{file}, ModelLoadError);
  std::filesystem::remove(path);
  CHECK_THROWS_AS(EmbeddingTable{file}, ModelLoadError);
  ModelFile other = file;
  other.embedding = {};
  CHECK(!EmbeddingTable::can_read(other));
  CHECK_THROWS_AS(EmbeddingTable{other}, ModelLoadError);
}

TEST_CASE("features change neither the logits nor the text, also after they were on") {
  SPECBRANCH_NEEDS_MODELS();
  const auto weights = target_weights();
  const auto options = small_options(target_path());
  SamplingOptions sampling;
  sampling.temperature = 0.8F;
  sampling.seed = 4;
  const Request plain = request_of(code_prompt(200), sampling);
  LlamaTarget never(weights, options, {});
  LlamaTarget target(weights, options, {});
  const auto truth = generate(never, plain, 80);
  for (const int n_layers : {0, kLayers, 2, 0}) {
    CAPTURE(n_layers);
    CHECK(generate(target, with_features(plain, n_layers), 80) == truth);
    const auto text =
        generate_with_drafts(target, with_features(plain, n_layers), truth, 7, 0.6, 1);
    CHECK(std::equal(truth.begin(), truth.end(), text.begin()));
  }
  begin(never, plain);
  begin(target, with_features(plain));
  verify(never, 199, std::span(&plain.prompt.back(), 1));
  verify(target, 199, std::span(&plain.prompt.back(), 1));
  const auto a = never.logits(0);
  const auto b = target.logits(0);
  CHECK(std::equal(a.begin(), a.end(), b.begin()));
}

TEST_CASE("a target is asked for no more layers than it can give") {
  SPECBRANCH_NEEDS_MODELS();
  LlamaTarget target(target_weights(), small_options(target_path()), {});
  const Request request = request_of(code_prompt(20));
  const int most = target.capabilities().n_feature_layers;
  CHECK_THROWS_AS(begin(target, with_features(request, most + 1)), InvalidArgument);
  CHECK_THROWS_AS(begin(target, with_features(request, -1)), InvalidArgument);
  CHECK(generate(target, request, 5).size() == 5);

  const std::atomic<bool> abort{false};
  LlamaContext context(target_weights(), small_options(target_path()), {1, 64, 1}, &abort);
  CHECK_THROWS_AS(context.keep_layer_inputs(most + 1), PreconditionError);
  CHECK_THROWS_AS(context.layer_input(0, 0), PreconditionError);
  context.keep_layer_inputs(2);
  CHECK_THROWS_AS(context.layer_input(0, 0), PreconditionError);  // nothing decoded yet
  const std::vector<BatchToken> batch{{5, 0, 0, false}, {6, 0, 1, true}};
  context.decode(batch);
  CHECK(context.layer_input(1, 1).size() == n_embd());
  CHECK_THROWS_AS(context.layer_input(2, 0), PreconditionError);
  CHECK_THROWS_AS(context.layer_input(0, 2), PreconditionError);
  CHECK_THROWS_AS(context.layer_input(0, -1), PreconditionError);
}

}  // namespace
}  // namespace specbranch::llama
