#include "specbranch/llama/sampling/sampler_plan.h"

#include <algorithm>
#include <array>

namespace specbranch::llama {
namespace {

using enum SamplerKind;

constexpr std::array kDefaultOrder{kPenalties, kDry,  kTopNSigma, kTopK,        kTypicalP,
                                   kTopP,      kMinP, kXtc,       kTemperature, kAdaptiveP};

/// What the quick ways do, in their order.
constexpr std::array kQuickOrder{kTopK, kTopP, kMinP, kTemperature};

bool acts(SamplerKind kind, const SamplingOptions& o) {
  switch (kind) {
    case kPenalties:
      return has_penalties(o);
    case kDry:
      return o.dry_multiplier > 0.0F && o.dry_penalty_last_n != 0;
    case kTopNSigma:
      return o.top_n_sigma > 0.0F;
    case kTopK:
      return o.top_k > 0;
    case kTypicalP:
      return o.typical_p < 1.0F;
    case kTopP:
      return o.top_p < 1.0F;
    case kMinP:
      return o.min_p > 0.0F;
    case kXtc:
      return o.xtc_probability > 0.0F && o.xtc_threshold <= 0.5F;
    case kTemperature:
      return o.temperature != 1.0F || o.dynatemp_range > 0.0F;
    case kInfill:
      return true;  // wherever the list names it
    case kAdaptiveP:
      return o.adaptive_target >= 0.0F;
  }
  return false;
}

/// In the order of the options, with adaptive-p at the end, as llama.cpp has it.
std::vector<SamplerKind> acting(const SamplingOptions& options) {
  std::vector<SamplerKind> order(kDefaultOrder.begin(), kDefaultOrder.end());
  if (options.mirostat > 0) {
    order = {kTemperature};
  } else if (options.samplers) {
    order = *options.samplers;
  }
  const bool adapts = std::ranges::count(order, kAdaptiveP) > 0 && acts(kAdaptiveP, options);
  std::erase_if(order,
                [&](SamplerKind kind) { return kind == kAdaptiveP || !acts(kind, options); });
  if (adapts) order.push_back(kAdaptiveP);
  return order;
}

bool keeps_best(SamplerKind kind) {
  return kind == kTopNSigma || kind == kTopK || kind == kTopP || kind == kMinP;
}

bool is_quick(const SamplerPlan& plan, const SamplingOptions& options) {
  if (plan.mirostat) return false;
  if (plan.greedy && std::ranges::all_of(plan.rest, keeps_best)) return true;
  // The quick ways know no `min_keep`.
  if (options.min_keep > 1 && std::ranges::any_of(plan.rest, [](SamplerKind kind) {
        return kind == kTopP || kind == kMinP;
      })) {
    return false;
  }
  auto from = kQuickOrder.begin();
  for (const SamplerKind kind : plan.rest) {
    if (kind == kTemperature && options.dynatemp_range > 0.0F) return false;
    from = std::find(from, kQuickOrder.end(), kind);
    if (from == kQuickOrder.end()) return false;
    ++from;
  }
  return !plan.greedy;
}

}  // namespace

bool has_penalties(const SamplingOptions& options) {
  return options.repeat_last_n != 0 &&
         (options.repeat_penalty != 1.0F || options.presence_penalty != 0.0F ||
          options.frequency_penalty != 0.0F);
}

SamplerPlan plan_samplers(const SamplingOptions& options) {
  SamplerPlan plan;
  const std::vector<SamplerKind> order = acting(options);
  const auto first = std::ranges::find_if(
      order, [](SamplerKind kind) { return kind != kPenalties && kind != kDry; });
  plan.adjustments.assign(order.begin(), first);
  auto last = order.end();
  if (options.temperature <= 0.0F && options.dynatemp_range <= 0.0F) {
    last = std::find(first, order.end(), kTemperature);
    plan.greedy = last != order.end();
  }
  plan.rest.assign(first, last);
  plan.mirostat = options.mirostat > 0 && !plan.greedy;
  plan.remembers = plan.mirostat || (!plan.rest.empty() && plan.rest.back() == kAdaptiveP);
  plan.quick = is_quick(plan, options);
  return plan;
}

SamplingOptions without_idle(const SamplingOptions& options, const SamplerPlan& plan) {
  const auto has = [&plan](SamplerKind kind) { return std::ranges::count(plan.rest, kind) > 0; };
  SamplingOptions result = options;
  if (!has(kTopK)) result.top_k = 0;
  if (!has(kTopP)) result.top_p = 1.0F;
  if (!has(kMinP)) result.min_p = 0.0F;
  if (!has(kTemperature)) result.temperature = plan.greedy ? 0.0F : 1.0F;
  return result;
}

}  // namespace specbranch::llama
