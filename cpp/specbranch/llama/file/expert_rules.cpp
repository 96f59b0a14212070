#include "specbranch/llama/file/expert_rules.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace specbranch::llama {
namespace {

constexpr std::int64_t kMaxExperts = 1024;  // llama.cpp asserts this (LLAMA_MAX_EXPERTS)
/// llama.cpp knows so many functions that choose experts; 0 is none.
constexpr std::int64_t kGatingFunctions = 4;

/// The architectures that take the function from the file, and have no other one for a file that
/// states none.
constexpr std::array kStateGating = {
    std::string_view("bailingmoe2"), std::string_view("bailingmoe3"),
    std::string_view("deepseek32"),  std::string_view("dots1"),
    std::string_view("dots3note"),   std::string_view("exaone-moe"),
    std::string_view("kimi-k3"),     std::string_view("kimi-linear"),
    std::string_view("lfm2moe"),     std::string_view("minimax-m2"),
    std::string_view("minimax-m3"),  std::string_view("smallthinker"),
};

void check_counts(const FileFacts& facts, std::int64_t n_experts) {
  const auto used = facts.integers("expert_used_count");
  const auto most = used.empty() ? 0 : *std::max_element(used.begin(), used.end());
  facts.require("expert_used_count", most, n_experts > 0 ? 1 : 0, n_experts);
  const auto groups = facts.integer("expert_group_count").value_or(0);
  const auto groups_used = facts.integer("expert_group_used_count").value_or(0);
  if (groups < 0 || groups > std::max<std::int64_t>(0, n_experts - 1) ||
      (groups > 1 && (n_experts % groups != 0 || groups_used <= 0 || groups_used >= groups))) {
    facts.refuse("the groups of experts (" + number(groups) + ", of which " + number(groups_used) +
                 " are used) do not fit " + number(n_experts) + " experts");
  }
}

void check_experts(const FileFacts& facts) {
  const auto n_experts = facts.integer("expert_count").value_or(0);
  facts.require("expert_count", n_experts, 0, kMaxExperts);
  // Hunyuan's dense models state counts that llama.cpp ignores.
  if (!facts.arch().starts_with("hunyuan")) check_counts(facts, n_experts);
  if (n_experts == 0) return;
  facts.require("expert_gating_func", facts.integer("expert_gating_func").value_or(0),
                contains(kStateGating, facts.arch()) ? 1 : 0, kGatingFunctions);
}

/// What widens a token and what narrows it again belong together.
void check_pairs(const FileFacts& facts, std::int64_t layer) {
  for (const char* kind : {"", "_exps", "_shexp", "_chexps"}) {
    const auto name = [&](std::string_view part) {
      return block(layer) + "ffn_" + std::string(part) + kind + ".weight";
    };
    const bool fused = facts.has(name("gate_up"));
    const bool widened = fused || facts.has(name("up"));
    const auto need = [&](const std::string& missing, const std::string& present) {
      facts.refuse("there is no tensor '" + missing + "', which '" + present + "' needs");
    };
    if (facts.has(name("gate")) && !widened) need(name("up"), name("gate"));
    if (widened && !facts.has(name("down"))) need(name("down"), name(fused ? "gate_up" : "up"));
    if (facts.has(name("down")) && !widened) need(name("up"), name("down"));
  }
}

}  // namespace

void check_feed_forward(const FileFacts& facts) {
  check_experts(facts);
  for (std::int64_t layer = 0; layer < facts.n_layers(); ++layer) check_pairs(facts, layer);
}

}  // namespace specbranch::llama
