#include "specbranch/llama/models/target_session.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/base/processor_channel.h"
#include "specbranch/llama/sampling/logit_adjustments.h"
#include "specbranch/model/row_processing.h"
#include "specbranch/model/row_tree.h"

namespace specbranch::llama {

TargetSession::TargetSession(const Vocabulary& vocabulary, DryFactory& dry,
                             std::shared_ptr<const Request> request, SeqId seq, AdapterSet adapters)
    : vocabulary_(&vocabulary),
      request_(std::move(request)),
      seq_(seq),
      adapters_(std::move(adapters)),
      chain_(vocabulary, request_->sampling, request_->prompt, &dry,
             early_ends(vocabulary, *request_)),
      stops_(request_->processors ? request_->stop : std::vector<std::string>(),
             request_->min_tokens) {
  if (takes_proposals(request_->mode, /*has_draft=*/false)) chain_.find_forced_tokens();
}

bool TargetSession::scales_hugely() const {
  constexpr float kUsualScale = 16.0F;
  return std::ranges::any_of(
      adapters_, [](const AdapterScale& adapter) { return std::abs(adapter.scale) > kUsualScale; });
}

std::span<const Token> TargetSession::prefill() const {
  return std::span<const Token>(request_->prompt).first(request_->prompt.size() - 1);
}

void TargetSession::check(const Segment& segment) const {
  const auto broken = [](const std::string& what) {
    throw PreconditionError("[LlamaTarget::verify] " + what);
  };
  if (failed_) broken("the session has failed");
  const auto& rows = segment.rows;
  if (const std::string fault = fault_of(rows); !fault.empty()) broken(fault);
  if (request_->processors && has_branches(rows)) {
    broken("functions of the caller are asked about paths only");
  }
  const auto first = std::ranges::find_if(rows, &Row::wanted);
  const auto text = chain_.history();
  const Pos n_replayed = static_cast<Pos>(first - rows.begin());
  if (segment.pos < 0 || segment.pos + n_replayed != static_cast<Pos>(text.size()) - 1) {
    broken("the path does not begin with the last token of the text; position " +
           std::to_string(segment.pos + n_replayed) + "; " + std::to_string(text.size() - 1));
  }
  const auto expected = text.subspan(static_cast<std::size_t>(segment.pos));
  const auto same = [](Token token, const Row& row) { return row.token == token; };
  if (!std::equal(expected.begin(), expected.end(), rows.begin(), first + 1, same)) {
    broken("the rows before the drafted ones are not those of the text; position " +
           std::to_string(segment.pos));
  }
}

void TargetSession::begin(const Segment& segment) {
  if (!request_->processors) return;
  const auto ends = [&, stops = stops_](Token token) mutable {
    return vocabulary_->is_end(token) || request_->is_stop(token) ||
           !stops.append(vocabulary_->piece(token)).stop.empty();
  };
  announce(*request_, chain_.history(), segment, ends);
}

SegmentResult TargetSession::choose(const Segment& segment, int first_row, LlamaContext& context,
                                    EmbeddingTable* embedding,
                                    const std::function<bool()>& aborting) {
  SegmentResult result;
  result.generation_id = segment.generation_id;
  const int newest_row = choose_down(segment, first_row, context, aborting, result);
  Verification& verification = result.verification;
  if (request_->processors) request_->processors->end();
  verification.sampler_state = chain_.state();
  const bool goes_on = !verification.choices.empty() && !verification.choices.back().end;
  if (goes_on && !verification.exhausted && !stopped_ && !failed_) {
    verification.forced = chain_.forced();
  }
  if (n_feature_layers() > 0 && !verification.choices.empty()) {
    verification.features =
        features(newest_row, verification.choices.back().token, context, *embedding);
  }
  return result;
}

/// Adds the choices to `result`. Returns the row of the last one.
int TargetSession::choose_down(const Segment& segment, int first_row, LlamaContext& context,
                               const std::function<bool()>& aborting, SegmentResult& result) {
  const auto& rows = segment.rows;
  std::vector<Choice>& choices = result.verification.choices;
  int newest_row = first_row;
  try {
    for (std::optional<std::size_t> at = 0; at && !stopped_;) {
      const std::size_t i = *at;
      at = i + 1;
      if (!rows[i].wanted) continue;
      const int row = first_row + static_cast<int>(i);
      const std::span<float> logits = context.logits(row);
      const std::optional<Token> token = next(logits, result, aborting);
      if (!token) break;
      newest_row = row;
      choices.push_back(describe(logits, *token));
      accept(*token);
      if (choices.back().end) break;
      at = row_after(rows, i, *token);
    }
  } catch (const FatalError&) {
    throw;
  } catch (const PreconditionError&) {
    throw;
  } catch (const DecodeError&) {
    if (choices.empty()) throw;
    // One token at a time, the text would have those before, and perhaps end with them.
    result.verification.error = std::current_exception();
    fail();
  }
  return newest_row;
}

/// The token after those of `result`. Nothing: `result` says why there is none.
std::optional<Token> TargetSession::next(std::span<float> logits, SegmentResult& result,
                                         const std::function<bool()>& aborting) {
  std::span<float> scores = logits;
  if (request_->processors) {
    require_numbers(logits);  // it would look like a fault of the functions
    if (!process_row(*request_, logits, processed_, result, aborting)) return std::nullopt;
    scores = processed_;
  }
  const std::optional<Token> token = chain_.choose(scores);
  result.verification.exhausted = !token;
  return token;
}

void TargetSession::accept(Token token) {
  chain_.accept(token);
  if (request_->processors) {
    stopped_ = !stops_.append(vocabulary_->piece(token)).stop.empty();
  }
}

std::vector<float> TargetSession::features(int row, Token newest, const LlamaContext& context,
                                           EmbeddingTable& embedding) const {
  const auto n_embd = static_cast<std::size_t>(embedding.n_embd());
  std::vector<float> features;
  features.reserve(n_embd * static_cast<std::size_t>(n_feature_layers() + 1));
  for (int layer = n_feature_layers() - 1; layer >= 0; --layer) {
    const std::span<const float> input = context.layer_input(layer, row);
    features.insert(features.end(), input.begin(), input.end());
  }
  features.resize(features.size() + n_embd);
  embedding.read(newest, std::span(features).last(n_embd));
  return features;
}

Choice TargetSession::describe(std::span<const float> logits, Token token) const {
  Choice choice;
  choice.token = token;
  choice.end = vocabulary_->is_end(token) || request_->is_stop(token);
  if (request_->logprobs < 0) return choice;
  TokenScore score = score_of(logits, token, request_->logprobs);
  choice.logprob = score.logprob;
  choice.top = std::move(score.top);
  return choice;
}

void TargetSession::score(Pos begin, Pos end, LlamaContext& context,
                          std::vector<TokenScore>& scores) const {
  for (Pos pos = begin; pos < end; ++pos) {
    const std::span<const float> logits = context.logits(pos - begin);
    const Token next = request_->prompt[static_cast<std::size_t>(pos) + 1];
    scores.push_back(score_of(logits, next, request_->prompt_logprobs));
  }
}

}  // namespace specbranch::llama
