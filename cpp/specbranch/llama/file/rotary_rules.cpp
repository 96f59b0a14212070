#include "specbranch/llama/file/rotary_rules.h"

#include <array>
#include <string>
#include <string_view>

namespace specbranch::llama {
namespace {

/// The architectures whose graphs assert that all dimensions of a head are rotated. No tensor says
/// so: others rotate a part of the same matrices.
constexpr std::array kAllRotary = {
    std::string_view("apertus"),        std::string_view("arcee"),
    std::string_view("arctic"),         std::string_view("baichuan"),
    std::string_view("chameleon"),      std::string_view("codeshell"),
    std::string_view("cogvlm"),         std::string_view("cohere2moe"),
    std::string_view("dbrx"),           std::string_view("deci"),
    std::string_view("deepseek"),       std::string_view("dots1"),
    std::string_view("dream"),          std::string_view("ernie4_5"),
    std::string_view("ernie4_5-moe"),   std::string_view("exaone"),
    std::string_view("exaone-moe"),     std::string_view("exaone4"),
    std::string_view("falcon"),         std::string_view("granite"),
    std::string_view("granite_swa"),    std::string_view("granitemoe"),
    std::string_view("graniteswitch"),  std::string_view("grok"),
    std::string_view("grovemoe"),       std::string_view("hunyuan-dense"),
    std::string_view("hunyuan-moe"),    std::string_view("hunyuan_vl"),
    std::string_view("hy_v3"),          std::string_view("internlm2"),
    std::string_view("jais2"),          std::string_view("llada"),
    std::string_view("llada-moe"),      std::string_view("llama"),
    std::string_view("llama4"),         std::string_view("maincoder"),
    std::string_view("mellum"),         std::string_view("minicpm"),
    std::string_view("mistral3"),       std::string_view("olmo"),
    std::string_view("olmo2"),          std::string_view("olmoe"),
    std::string_view("orion"),          std::string_view("paddleocr"),
    std::string_view("pangu-embedded"), std::string_view("plamo"),
    std::string_view("pockettts"),      std::string_view("qwen2"),
    std::string_view("qwen2moe"),       std::string_view("qwen2vl"),
    std::string_view("qwen3"),          std::string_view("qwen3moe"),
    std::string_view("qwen3tts"),       std::string_view("qwen3vl"),
    std::string_view("qwen3vlmoe"),     std::string_view("rnd1"),
    std::string_view("seed_oss"),       std::string_view("smallthinker"),
    std::string_view("smollm3"),        std::string_view("starcoder2"),
    std::string_view("talkie"),         std::string_view("xverse"),
};

/// The architectures that rotate nothing.
constexpr std::array kNoRotary = {
    std::string_view("gpt2"),        std::string_view("gptj"),
    std::string_view("mpt"),         std::string_view("refact"),
    std::string_view("bloom"),       std::string_view("starcoder"),
    std::string_view("mamba"),       std::string_view("mamba2"),
    std::string_view("jamba"),       std::string_view("jais"),
    std::string_view("rwkv6"),       std::string_view("rwkv6qwen2"),
    std::string_view("rwkv7"),       std::string_view("arwkv7"),
    std::string_view("nemotron_h"),  std::string_view("nemotron_h_moe"),
    std::string_view("kimi-linear"), std::string_view("kimi-k3"),
    std::string_view("glm5-next"),
};

void check_count(const FileFacts& facts, std::string_view name) {
  const auto count = facts.integer(name);
  if (!count) return;
  const std::string stated = facts.key(name) + " is " + number(*count);
  if (*count % 2 != 0) {
    facts.refuse(stated + ", not an even number");
  }
  // ggml's kernel skips the rotated dimensions by stepping back two and forth two.
  const bool rotates = facts.flag("rope.scaling.finetuned").value_or(true);
  if (*count == 0 && rotates && !contains(kNoRotary, facts.arch())) {
    facts.refuse(stated + ", with which llama.cpp computes for ever");
  }
}

}  // namespace

Heads heads_of(const FileFacts& facts) {
  Heads heads;
  heads.counts = facts.integers("attention.head_count");
  heads.kv_counts = facts.integers("attention.head_count_kv");
  heads.key_length = facts.integer("attention.key_length");
  heads.value_length = facts.integer("attention.value_length");
  for (const char* name : {"key_length_swa", "value_length_swa"}) {
    if (facts.integer("attention." + std::string(name))) heads.windows = true;
  }
  heads.plain = !heads.windows;
  for (const char* name : {"kv_lora_rank", "q_lora_rank", "key_length_mla", "shared_kv_layers"}) {
    if (facts.integer("attention." + std::string(name))) heads.plain = false;
  }
  return heads;
}

void check_rotary(const FileFacts& facts, const Heads& heads) {
  check_count(facts, "rope.dimension_count");
  check_count(facts, "rope.dimension_count_swa");
  const auto count = of_layer(heads.counts, 0);
  if (!count || *count <= 0) return;
  const std::int64_t divided = facts.n_embd() / *count;
  const std::int64_t width = heads.key_length.value_or(divided);
  const std::int64_t n_rot = facts.integer("rope.dimension_count").value_or(width);
  const std::string stated = facts.key("rope.dimension_count") + " is " + number(n_rot) + ", and ";
  if (heads.plain && n_rot > width) {
    facts.refuse(stated + "a head has " + number(width) + " dimensions");
  }
  const auto indexer = facts.integer("attention.indexer.key_length");
  if (indexer && n_rot > *indexer) {
    facts.refuse(stated + facts.key("attention.indexer.key_length") + " is " + number(*indexer));
  }
}

void check_all_rotary(const FileFacts& facts, const Heads& heads) {
  const auto count = of_layer(heads.counts, 0);
  if (!contains(kAllRotary, facts.arch()) || !count || *count <= 0) return;
  const std::int64_t width = heads.key_length.value_or(facts.n_embd() / *count);
  const auto n_rot = facts.integer("rope.dimension_count");
  if (!n_rot || *n_rot == width) return;
  facts.refuse(facts.key("rope.dimension_count") + " is " + number(*n_rot) + ", and all " +
               number(width) + " dimensions of a head of '" + facts.arch() + "' are rotated");
}

}  // namespace specbranch::llama
