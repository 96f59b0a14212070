#include "specbranch/model/options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <set>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/model/hrad.h"
#include "specbranch/model/refuse.h"

namespace specbranch {
namespace {

constexpr std::array<std::pair<Mode, std::string_view>, 5> kModes{{
    {Mode::kAutoregressive, "autoregressive"},
    {Mode::kSpeculative, "speculative"},
    {Mode::kPearl, "pearl"},
    {Mode::kSpecBranch, "specbranch"},
    {Mode::kAuto, "auto"},
}};

std::string vocabulary_range(int n_vocab) {
  return "it must be in 0 .. " + std::to_string(n_vocab - 1);
}

void check_all_tokens(const Request& request, int n_vocab) {
  if (request.prompt.empty())
    throw InvalidArgument("prompt is empty; at least one token is needed");
  check_tokens(request.prompt, "prompt", n_vocab);
  check_tokens(request.prediction, "prediction", n_vocab);
  check_tokens(request.stop_tokens, "stop", n_vocab);
  for (const auto& [token, bias] : request.sampling.logit_bias) {
    require_setting(token >= 0 && token < n_vocab, "logit_bias token", token,
                    vocabulary_range(n_vocab));
    require_setting(!std::isnan(bias) && bias != INFINITY,
                    "logit_bias of token " + std::to_string(token), bias,
                    "it must be a number or -inf");
  }
}

void check_numbers(const Request& request, int n_vocab) {
  const std::string all = "it must be at most the vocabulary's size " + std::to_string(n_vocab);
  require_setting(request.logprobs <= n_vocab, "logprobs", request.logprobs, all);
  require_setting(request.prompt_logprobs <= n_vocab, "prompt_logprobs", request.prompt_logprobs,
                  all);
  require_setting(request.min_tokens >= 0, "min_tokens", request.min_tokens,
                  "it must be at least 0");
  require_setting(request.max_tokens < 0 || request.min_tokens <= request.max_tokens, "min_tokens",
                  request.min_tokens,
                  "it must be at most max_tokens, which is " + std::to_string(request.max_tokens));
}

void check_adapters(const std::vector<AdapterScale>& adapters, int n_adapters) {
  std::set<int> named;
  for (const auto& [index, scale] : adapters) {
    require_setting(index >= 0 && index < n_adapters, "the index of an adapter", index,
                    n_adapters > 0 ? "it must be in 0 .. " + std::to_string(n_adapters - 1)
                                   : "the target was loaded without adapters");
    require_setting(std::isfinite(scale), "the scale of adapter " + std::to_string(index), scale,
                    "it must be a finite number");
    require_setting(named.insert(index).second, "the index of an adapter", index,
                    "it is given twice");
  }
}

}  // namespace

void check_tokens(std::span<const Token> text, const std::string& name, int n_vocab) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] >= 0 && text[i] < n_vocab) continue;
    require_setting(false, name + " token " + std::to_string(i), text[i],
                    vocabulary_range(n_vocab));
  }
}

Pos Request::may_end_from() const {
  const std::int64_t from =
      std::int64_t{n_skipped} + static_cast<std::int64_t>(prompt.size()) + min_tokens;
  return static_cast<Pos>(std::min<std::int64_t>(from, std::numeric_limits<Pos>::max()));
}

bool Request::is_stop(Token token) const { return std::ranges::count(stop_tokens, token) > 0; }

AdapterSet active_adapters(std::span<const AdapterScale> scales) {
  AdapterSet set;
  std::ranges::copy_if(scales, std::back_inserter(set),
                       [](const AdapterScale& each) { return each.scale != 0.0F; });
  std::ranges::sort(set, {}, &AdapterScale::index);
  return set;
}

std::string_view to_string(Mode mode) {
  for (const auto& [value, name] : kModes) {
    if (value == mode) return name;
  }
  return "unknown";
}

Mode parse_mode(std::string_view name) {
  std::string valid;
  for (const auto& [value, known] : kModes) {
    if (known == name) return value;
    valid += valid.empty() ? "" : ", ";
    valid += known;
  }
  throw InvalidArgument("mode is '" + std::string(name) + "'; it must be one of " + valid);
}

void validate(const Request& request, int n_vocab, int n_adapters) {
  check_all_tokens(request, n_vocab);
  if (request.adapters) check_adapters(*request.adapters, n_adapters);
  check_sampling(request.sampling);
  for (const std::string& stop : request.stop) {
    if (stop.empty())
      throw InvalidArgument("stop has an empty string; each needs at least one byte");
  }
  check_numbers(request, n_vocab);
  require_setting(request.max_draft >= 1 && request.max_draft <= kMaxDraft, "max_draft",
                  request.max_draft, "it must be in 1 .. " + std::to_string(kMaxDraft));
  require_setting(request.max_branches >= 1 && request.max_branches <= kMaxBranches, "max_branches",
                  request.max_branches, "it must be in 1 .. " + std::to_string(kMaxBranches));
  require_setting(request.n_feature_layers >= 0, "n_feature_layers", request.n_feature_layers,
                  "it must be at least 0");
  const PolicyOptions& policy = request.policy;
  require_setting(policy.lambda >= 0 && policy.lambda <= 1, "lambda", policy.lambda,
                  "it must be in [0, 1]");
  require_setting(policy.acceptance >= 0 && policy.acceptance <= 1, "acceptance", policy.acceptance,
                  "it must be in [0, 1]");
  if (policy.kind == PolicyOptions::Kind::kHrad) {
    if (!policy.hrad) throw InvalidArgument("policy H-RAD has no weights");
    validate(*policy.hrad);
    require_setting(request.n_feature_layers == policy.hrad->n_layers, "n_feature_layers",
                    request.n_feature_layers,
                    "the policy's weights need " + std::to_string(policy.hrad->n_layers));
  }
  require_setting(request.policy.gamma >= 1 && request.policy.gamma <= kMaxDraft, "gamma",
                  request.policy.gamma, "it must be in 1 .. " + std::to_string(kMaxDraft));
  require_setting(request.policy.min_probability >= 0 && request.policy.min_probability <= 1,
                  "min_probability", request.policy.min_probability, "it must be in [0, 1]");
  require_setting(request.policy.epsilon >= 0 && request.policy.epsilon <= 1, "epsilon",
                  request.policy.epsilon, "it must be in [0, 1]");
}

}  // namespace specbranch
