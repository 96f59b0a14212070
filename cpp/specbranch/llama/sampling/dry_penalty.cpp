#include "specbranch/llama/sampling/dry_penalty.h"

#include <algorithm>
#include <string>
#include <utility>

#include "llama.h"
#include "specbranch/base/errors.h"

namespace specbranch::llama {
namespace {

constexpr std::size_t kMostPrepared = 4;

SamplerHandle make_dry(const Vocabulary& vocabulary, const SamplingOptions& options, int window) {
  std::vector<const char*> breakers;
  breakers.reserve(options.dry_sequence_breakers.size());
  for (const std::string& breaker : options.dry_sequence_breakers) {
    breakers.push_back(breaker.c_str());
  }
  try {
    return SamplerHandle(llama_sampler_init_dry(vocabulary.get(), options.dry_multiplier,
                                                options.dry_base, options.dry_allowed_length,
                                                window, breakers.data(), breakers.size()));
  } catch (const std::exception& error) {
    throw InvalidArgument(std::string("dry_sequence_breakers cannot be tokenized; ") +
                          error.what());
  }
}

}  // namespace

DryPenalty::DryPenalty(SamplerHandle sampler, int window)
    : sampler_(std::move(sampler)), window_(static_cast<std::size_t>(window)) {}

std::span<const Token> DryPenalty::window_of(std::span<const Token> history) const {
  return history.last(std::min(history.size(), window_));
}

void DryPenalty::apply(std::span<llama_token_data> tokens, std::span<const Token> history) const {
  llama_sampler_reset(sampler_.get());
  for (const Token token : window_of(history)) llama_sampler_accept(sampler_.get(), token);
  llama_token_data_array array{tokens.data(), tokens.size(), -1, /*sorted=*/false};
  llama_sampler_apply(sampler_.get(), &array);
}

std::shared_ptr<const DryPenalty> DryFactory::make(const SamplingOptions& options) {
  if (options.dry_multiplier <= 0.0F || options.dry_penalty_last_n == 0) return nullptr;
  const Pos wanted = options.dry_penalty_last_n;
  const Pos window = wanted < 0 ? n_ctx_ : std::min(wanted, n_ctx_);
  SamplerHandle sampler(llama_sampler_clone(prepared(options, window)));
  return std::make_shared<const DryPenalty>(std::move(sampler), window);
}

const llama_sampler* DryFactory::prepared(const SamplingOptions& options, int window) {
  Settings settings{options.dry_multiplier, options.dry_base, options.dry_allowed_length, window,
                    options.dry_sequence_breakers};
  const auto found = std::ranges::find(prepared_, settings, &Prepared::settings);
  if (found != prepared_.end()) {
    prepared_.splice(prepared_.begin(), prepared_, found);
  } else {
    prepared_.push_front({std::move(settings), make_dry(*vocabulary_, options, window)});
    if (prepared_.size() > kMostPrepared) prepared_.pop_back();
  }
  return prepared_.front().sampler.get();
}

}  // namespace specbranch::llama
