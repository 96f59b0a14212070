// Models of many architectures in every mode, under a virtual clock: with it `auto` drafts, which
// never pays with models so small, and messages are delivered in many orders.
//
// The models come from `python -m tests.python.matrix.models FOLDER`.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/model/single_session.h"
#include "specbranch/sampling/noise.h"
#include "specbranch/simulation/virtual_run.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;
namespace fs = std::filesystem;

constexpr const char* kOther = "--other";  ///< ends the name of the model that is nearly the same.
constexpr float kNearTie = 0.02F;          ///< as in tests/python/matrix/cells.py

ModelOptions options_of(const std::string& path) {
  ModelOptions options = small_options(path);
  options.n_ctx = 256;
  if (fs::path(path).stem().string().starts_with("plm")) options.flash_attn = FlashAttention::kOff;
  return options;
}

/// How far apart the scores of two tokens are that come after `text`.
float gap(const std::shared_ptr<const Weights>& weights, const ModelOptions& options,
          const Request& request, const std::vector<Token>& text, Token a, Token b) {
  LlamaTarget target(weights, options, {});
  Request longer = request;
  longer.prompt.insert(longer.prompt.end(), text.begin(), text.end());
  begin(target, longer);
  const auto pos = static_cast<Pos>(longer.prompt.size()) - 1;
  verify(target, pos, std::span(&longer.prompt.back(), 1));
  const auto score = [&](Token token) {
    return target.logits(0)[static_cast<std::size_t>(token)] +
           static_cast<float>(PositionNoise(request.sampling.seed, pos + 1).gumbel(token));
  };
  return std::abs(score(a) - score(b));
}

struct Counts {
  std::int64_t texts = 0;
  std::int64_t near_ties = 0;
  std::int64_t drafted = 0;
  std::int64_t drafted_by_auto = 0;
};

void check_pair(const fs::path& target_path, const fs::path& draft_path, Counts& counts) {
  const ModelOptions options = options_of(target_path.string());
  const ModelOptions draft_options = options_of(draft_path.string());
  const auto weights = Weights::load(options);
  LlamaTarget target(weights, options, {});
  std::unique_ptr<LlamaDraft> draft;
  try {
    draft = std::make_unique<LlamaDraft>(Weights::load(draft_options), draft_options,
                                         DraftOptions{.n_seq = 8});
  } catch (const IncompatibleModels&) {
    return;  // refused before anything runs
  }
  std::vector<Token> prompt;
  for (Token token = 1; token <= 60; ++token) prompt.push_back(token * 37 % 270 + 1);
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    SamplingOptions sampling;
    sampling.temperature = 1.0F;
    sampling.seed = seed;
    Request request = request_of(prompt, sampling);
    request.max_tokens = 40;
    request.max_branches = 3;
    request.mode = Mode::kAutoregressive;
    const auto expected = run_virtually(request, target, nullptr).tokens;
    for (const Mode mode : {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch, Mode::kAuto}) {
      for (const DeliveryOrder order : {DeliveryOrder::kByTime, DeliveryOrder::kShuffled}) {
        CAPTURE(to_string(mode));
        request.mode = mode;
        VirtualOptions run;
        run.order = order;
        run.shuffle_seed = seed;
        const VirtualResult got = run_virtually(request, target, draft.get(), run);
        CHECK(!got.error);
        CHECK(!got.draft_error);
        ++counts.texts;
        counts.drafted += got.counters.n_drafted;
        if (mode == Mode::kAuto) counts.drafted_by_auto += got.counters.n_drafted;
        const auto [a, b] = std::ranges::mismatch(expected, got.tokens);
        if (a == expected.end() && b == got.tokens.end()) continue;
        ++counts.near_ties;
        REQUIRE(a != expected.end());
        REQUIRE(b != got.tokens.end());
        CHECK(gap(weights, options, request, {expected.begin(), a}, *a, *b) <= kNearTie);
      }
    }
  }
}

TEST_CASE("models of all architectures speculate under a virtual clock") {
  const char* folder = std::getenv("SPECBRANCH_MATRIX_MODELS");
  if (folder == nullptr) {
    MESSAGE("SKIPPED: set SPECBRANCH_MATRIX_MODELS");
    return;
  }
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const bool is_other = entry.path().stem().string().ends_with(kOther);
    if (entry.path().extension() == ".gguf" && !is_other) paths.push_back(entry.path());
  }
  REQUIRE(!paths.empty());
  std::ranges::sort(paths);
  Counts counts;
  for (const fs::path& path : paths) {
    const std::string name = path.stem().string();
    CAPTURE(name);
    check_pair(path, path, counts);
    check_pair(path, path.parent_path() / (name + kOther + ".gguf"), counts);
  }
  MESSAGE(paths.size() << " models, " << counts.texts << " texts, " << counts.near_ties
                       << " near-ties, " << counts.drafted << " drafted, " << counts.drafted_by_auto
                       << " of them by auto");
  CHECK(counts.drafted_by_auto > 0);
}

}  // namespace
}  // namespace specbranch::llama
