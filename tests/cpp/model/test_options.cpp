// Every bad setting is refused by its name; the bounds themselves are accepted.
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/model/options.h"
#include "support/support.h"

using namespace specbranch;

namespace {

constexpr int kVocab = 100;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Request good_request() {
  Request request;
  request.prompt = {0, 99, 5};
  request.prediction = {99, 0};
  return request;
}

struct BadSetting {
  std::string name;   ///< what the message must name.
  std::string value;  ///< and the value it must show; empty: none.
  std::function<void(Request&)> set;
};

const std::vector<BadSetting>& bad_settings() {
  static const std::vector<BadSetting> settings{
      {"prompt", "", [](Request& r) { r.prompt.clear(); }},
      {"prompt token 1", "-1", [](Request& r) { r.prompt[1] = -1; }},
      {"prompt token 2", "100", [](Request& r) { r.prompt[2] = kVocab; }},
      {"prompt token 0", "2147483647", [](Request& r) { r.prompt[0] = 2147483647; }},
      {"prediction token 1", "-1", [](Request& r) { r.prediction = {5, -1}; }},
      {"prediction token 0", "100", [](Request& r) { r.prediction = {kVocab}; }},
      {"temperature", "-0.1", [](Request& r) { r.sampling.temperature = -0.1F; }},
      {"temperature", "nan", [](Request& r) { r.sampling.temperature = kNan; }},
      {"temperature", "inf", [](Request& r) { r.sampling.temperature = kInf; }},
      {"temperature", "1e-07", [](Request& r) { r.sampling.temperature = 1e-7F; }},
      {"top_p", "0", [](Request& r) { r.sampling.top_p = 0; }},
      {"top_p", "1.5", [](Request& r) { r.sampling.top_p = 1.5F; }},
      {"top_p", "-1", [](Request& r) { r.sampling.top_p = -1; }},
      {"top_p", "nan", [](Request& r) { r.sampling.top_p = kNan; }},
      {"min_p", "-0.5", [](Request& r) { r.sampling.min_p = -0.5F; }},
      {"min_p", "1.25", [](Request& r) { r.sampling.min_p = 1.25F; }},
      {"min_p", "nan", [](Request& r) { r.sampling.min_p = kNan; }},
      {"repeat_penalty", "0", [](Request& r) { r.sampling.repeat_penalty = 0; }},
      {"repeat_penalty", "-2", [](Request& r) { r.sampling.repeat_penalty = -2; }},
      {"repeat_penalty", "nan", [](Request& r) { r.sampling.repeat_penalty = kNan; }},
      {"repeat_penalty", "inf", [](Request& r) { r.sampling.repeat_penalty = kInf; }},
      {"presence_penalty", "inf", [](Request& r) { r.sampling.presence_penalty = kInf; }},
      {"presence_penalty", "nan", [](Request& r) { r.sampling.presence_penalty = kNan; }},
      {"frequency_penalty", "-inf", [](Request& r) { r.sampling.frequency_penalty = -kInf; }},
      {"frequency_penalty", "nan", [](Request& r) { r.sampling.frequency_penalty = kNan; }},
      {"repeat_last_n", "-2", [](Request& r) { r.sampling.repeat_last_n = -2; }},
      {"typical_p", "1.5", [](Request& r) { r.sampling.typical_p = 1.5F; }},
      {"typical_p", "nan", [](Request& r) { r.sampling.typical_p = kNan; }},
      {"top_n_sigma", "inf", [](Request& r) { r.sampling.top_n_sigma = kInf; }},
      {"min_keep", "-1", [](Request& r) { r.sampling.min_keep = -1; }},
      {"xtc_probability", "1.5", [](Request& r) { r.sampling.xtc_probability = 1.5F; }},
      {"xtc_threshold", "nan", [](Request& r) { r.sampling.xtc_threshold = kNan; }},
      {"dynatemp_range", "-1", [](Request& r) { r.sampling.dynatemp_range = -1.0F; }},
      {"dynatemp_exponent", "-1", [](Request& r) { r.sampling.dynatemp_exponent = -1.0F; }},
      {"dry_multiplier", "-1", [](Request& r) { r.sampling.dry_multiplier = -1.0F; }},
      {"dry_base", "0.5", [](Request& r) { r.sampling.dry_base = 0.5F; }},
      {"dry_allowed_length", "-1", [](Request& r) { r.sampling.dry_allowed_length = -1; }},
      {"dry_penalty_last_n", "-2", [](Request& r) { r.sampling.dry_penalty_last_n = -2; }},
      {"dry_sequence_breakers[1]", "0 bytes",
       [](Request& r) { r.sampling.dry_sequence_breakers = {"a", ""}; }},
      {"dry_sequence_breakers[0]", "41 bytes",
       [](Request& r) { r.sampling.dry_sequence_breakers = {std::string(41, 'a')}; }},
      {"dry_sequence_breakers[0]", "zero byte",
       [](Request& r) { r.sampling.dry_sequence_breakers = {std::string("a\0", 2)}; }},
      {"dry_sequence_breakers", "65",
       [](Request& r) { r.sampling.dry_sequence_breakers.assign(kMostBreakers + 1, "a"); }},
      {"mirostat", "3", [](Request& r) { r.sampling.mirostat = 3; }},
      {"mirostat_tau", "-1", [](Request& r) { r.sampling.mirostat_tau = -1.0F; }},
      {"mirostat_eta", "nan", [](Request& r) { r.sampling.mirostat_eta = kNan; }},
      {"adaptive_target", "1.5", [](Request& r) { r.sampling.adaptive_target = 1.5F; }},
      {"adaptive_decay", "1", [](Request& r) { r.sampling.adaptive_decay = 1.0F; }},
      {"samplers", "65",
       [](Request& r) { r.sampling.samplers.emplace(kMostSamplers + 1, SamplerKind::kTopK); }},
      {"logit_bias", "100", [](Request& r) { r.sampling.logit_bias[kVocab] = 1; }},
      {"logit_bias", "-1", [](Request& r) { r.sampling.logit_bias[-1] = 1; }},
      {"logit_bias", "nan", [](Request& r) { r.sampling.logit_bias[3] = kNan; }},
      {"logit_bias", "inf", [](Request& r) { r.sampling.logit_bias[3] = kInf; }},
      {"stop", "", [](Request& r) { r.stop = {"ok", ""}; }},
      {"stop token", "100", [](Request& r) { r.stop_tokens = {3, kVocab}; }},
      {"stop token", "-1", [](Request& r) { r.stop_tokens = {-1}; }},
      {"logprobs", "101", [](Request& r) { r.logprobs = kVocab + 1; }},
      {"prompt_logprobs", "101", [](Request& r) { r.prompt_logprobs = kVocab + 1; }},
      {"min_tokens", "-1", [](Request& r) { r.min_tokens = -1; }},
      {"min_tokens is 4", "max_tokens, which is 3",
       [](Request& r) {
         r.min_tokens = 4;
         r.max_tokens = 3;
       }},
      {"max_draft", "0", [](Request& r) { r.max_draft = 0; }},
      {"max_draft", "-3", [](Request& r) { r.max_draft = -3; }},
      {"max_draft", "65", [](Request& r) { r.max_draft = kMaxDraft + 1; }},
      {"max_branches", "0", [](Request& r) { r.max_branches = 0; }},
      {"max_branches", "33", [](Request& r) { r.max_branches = kMaxBranches + 1; }},
      {"gamma", "0", [](Request& r) { r.policy.gamma = 0; }},
      {"gamma", "65", [](Request& r) { r.policy.gamma = kMaxDraft + 1; }},
      {"epsilon", "-0.5", [](Request& r) { r.policy.epsilon = -0.5; }},
      {"min_probability", "1.5", [](Request& r) { r.policy.min_probability = 1.5; }},
      {"epsilon", "1.5", [](Request& r) { r.policy.epsilon = 1.5; }},
      {"epsilon", "nan",
       [](Request& r) { r.policy.epsilon = std::numeric_limits<double>::quiet_NaN(); }},
  };
  return settings;
}

}  // namespace

TEST_CASE("every bad setting is refused by name and value") {
  for (const BadSetting& bad : bad_settings()) {
    CAPTURE(bad.name);
    CAPTURE(bad.value);
    Request request = good_request();
    bad.set(request);
    try {
      validate(request, kVocab);
      FAIL_CHECK("accepted");
    } catch (const InvalidArgument& error) {
      const std::string message = error.what();
      CAPTURE(message);
      CHECK(message.find(bad.name) != std::string::npos);
      CHECK(message.find(bad.value) != std::string::npos);
    }
  }
}

TEST_CASE("the bounds themselves are good") {
  CHECK_NOTHROW(validate(good_request(), kVocab));
  Request request = good_request();
  request.prompt = {0};
  request.max_tokens = 0;
  request.stop_tokens = {0, 99};
  request.prompt_logprobs = kVocab;
  request.sampling.temperature = 0.0F;
  request.sampling.top_k = -1;
  request.sampling.top_p = 1.0F;
  request.sampling.min_p = 1.0F;
  request.sampling.repeat_penalty = 0.01F;
  request.sampling.presence_penalty = -2.0F;
  request.sampling.frequency_penalty = 2.0F;
  request.sampling.logit_bias = {{0, -kInf}, {99, 100.0F}};
  request.stop = {"a", std::string("\0", 1)};
  request.logprobs = kVocab;
  request.max_draft = kMaxDraft;
  request.max_branches = kMaxBranches;
  request.policy.gamma = kMaxDraft;
  request.policy.epsilon = 1.0;
  CHECK_NOTHROW(validate(request, kVocab));
  request.max_tokens = -1;
  request.logprobs = -1;
  request.max_draft = request.max_branches = request.policy.gamma = 1;
  request.policy.epsilon = 0.0;
  CHECK_NOTHROW(validate(request, kVocab));
}

TEST_CASE("samplers have names, both ways") {
  for (const std::string_view name : sampler_names()) {
    CHECK(to_string(parse_sampler(name)) == name);
  }
  CHECK(sampler_names().size() == 11);
  CHECK(parse_sampler("Top-K") == SamplerKind::kTopK);
  CHECK(parse_sampler("topnsigma") == SamplerKind::kTopNSigma);
  CHECK(parse_sampler("typical_p") == SamplerKind::kTypicalP);
  CHECK(parse_sampler("nucleus") == SamplerKind::kTopP);
  CHECK(parse_sampler("temp") == SamplerKind::kTemperature);
  for (const char* name : {"", "top k", "tfs_z", "mirostat"}) {
    try {
      static_cast<void>(parse_sampler(name));
      FAIL_CHECK("accepted");
    } catch (const InvalidArgument& error) {
      const std::string message = error.what();
      for (const std::string_view known : sampler_names()) {
        CHECK(message.find(known) != std::string::npos);
      }
    }
  }
}

TEST_CASE("a least length beyond any text is a limit beyond any position") {
  Request request = good_request();
  request.min_tokens = 7;
  CHECK(request.may_end_from() == 10);
  request.n_skipped = 5;
  CHECK(request.may_end_from() == 15);
  request.min_tokens = std::numeric_limits<int>::max();
  CHECK_NOTHROW(validate(request, kVocab));
  CHECK(request.may_end_from() == std::numeric_limits<Pos>::max());
}

TEST_CASE("modes have names, both ways") {
  for (const Mode mode : test::kAllModes) CHECK(parse_mode(to_string(mode)) == mode);
  CHECK(to_string(Mode::kSpecBranch) == "specbranch");
  for (const char* name : {"", "Pearl", "tree", "speculative "}) {
    try {
      static_cast<void>(parse_mode(name));
      FAIL_CHECK("accepted");
    } catch (const InvalidArgument& error) {
      const std::string message = error.what();
      for (const Mode mode : test::kAllModes) {
        CHECK(message.find(std::string(to_string(mode))) != std::string::npos);
      }
    }
  }
}

TEST_CASE("adapters are those that were loaded, each once, with a finite scale") {
  Request request = good_request();
  CHECK_NOTHROW(validate(request, kVocab, 0));
  request.adapters.emplace();
  CHECK_NOTHROW(validate(request, kVocab, 0));
  request.adapters = {{1, -2.0F}, {0, 0.0F}};
  CHECK_NOTHROW(validate(request, kVocab, 2));
  const auto refused = [&](std::vector<AdapterScale> adapters, int n, const char* words) {
    request.adapters = std::move(adapters);
    CHECK_THROWS_WITH_AS(validate(request, kVocab, n), words, InvalidArgument);
  };
  refused({{0, 1.0F}}, 0, "the index of an adapter is 0; the target was loaded without adapters");
  refused({{2, 1.0F}}, 2, "the index of an adapter is 2; it must be in 0 .. 1");
  refused({{-1, 1.0F}}, 2, "the index of an adapter is -1; it must be in 0 .. 1");
  refused({{0, kNan}}, 1, "the scale of adapter 0 is nan; it must be a finite number");
  refused({{0, -kInf}}, 1, "the scale of adapter 0 is -inf; it must be a finite number");
  refused({{1, 1.0F}, {1, 1.0F}}, 2, "the index of an adapter is 1; it is given twice");
}

TEST_CASE("the adapters that act have one order and no scale of 0") {
  CHECK(active_adapters({}).empty());
  const std::vector<AdapterScale> scales{{2, 1.0F}, {1, -0.0F}, {0, 0.5F}, {3, 0.0F}};
  CHECK(active_adapters(scales) == AdapterSet{{0, 0.5F}, {2, 1.0F}});
}
