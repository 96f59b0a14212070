#include "specbranch/simulation/fake_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/base/processor_channel.h"
#include "specbranch/model/kept_texts.h"
#include "specbranch/model/row_processing.h"
#include "specbranch/model/row_tree.h"
#include "specbranch/model/sessions.h"
#include "specbranch/sampling/noise.h"
#include "specbranch/simulation/fake_cells.h"

namespace specbranch {
namespace {

constexpr std::size_t kContext = 3;  ///< how many last tokens the scores depend on.

std::uint64_t context_key(std::uint64_t seed, std::span<const Token> context) {
  // The length too: a cell at the wrong position must show.
  std::uint64_t key = seed * 0x9E3779B97F4A7C15ULL + context.size();
  const std::size_t n = std::min(kContext, context.size());
  for (const Token token : context.last(n)) {
    key = (key ^ static_cast<std::uint64_t>(token)) * std::uint64_t{0xBF58476D1CE4E5B9};
    key ^= key >> 29U;
  }
  // And something of everything before: a wrong cell anywhere must show.
  std::uint64_t all = 0;
  for (const Token token : context) all = all * 31 + static_cast<std::uint64_t>(token) + 7;
  return key ^ (all * 0x94D049BB133111EBULL);
}

/// What every forward pass and prefill chunk of a fake does besides its answer.
class FakeSteps {
 public:
  explicit FakeSteps(const FakeOptions& options) : options_(options) {}

  template <class Aborting>
  void step(Aborting aborting) {
    if (n_steps_++ == options_.fail_at_step) {
      if (options_.fail_fatally) throw std::runtime_error("the fake escaped as asked");
      throw DecodeError("[fake] step " + std::to_string(n_steps_ - 1) + " fails as asked");
    }
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::microseconds(options_.step_us);
    do {
      if (aborting()) throw Aborted("[fake] aborted");
      if (options_.step_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
    } while (Clock::now() < end);
  }

 private:
  FakeOptions options_;
  std::int64_t n_steps_ = 0;
};

/// Whether the text may end with the token after `context`.
bool may_end_after(const Request& request, std::span<const Token> context) {
  return request.n_skipped + static_cast<Pos>(context.size()) >= request.may_end_from();
}

std::vector<Scored> sampled(std::span<const float> scores, const Request& request,
                            std::span<const Token> context) {
  const SamplingOptions& sampling = request.sampling;
  const bool may_end = may_end_after(request, context);
  std::vector<Scored> scored;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto token = static_cast<Token>(i);
    float score = scores[i];
    if (const auto bias = sampling.logit_bias.find(token); bias != sampling.logit_bias.end()) {
      score += bias->second;
    }
    if (sampling.temperature > 0) score /= sampling.temperature;
    if (!may_end && request.is_stop(token)) score = -std::numeric_limits<float>::infinity();
    scored.push_back({token, score});
  }
  return scored;
}

class FakeTarget final : public TargetModel {
 public:
  explicit FakeTarget(const FakeOptions& options)
      : options_(options),
        cells_(options.n_target_seq * (options.whole_states ? 2 : 1), options.whole_states),
        kept_texts_(options.n_ctx_total),
        steps_(options) {}

  Capabilities capabilities() const override {
    Capabilities result{options_.n_vocab, options_.n_ctx, options_.n_target_seq,
                        options_.max_batch};
    result.n_feature_layers = options_.n_feature_layers;
    result.n_embd = kFakeEmbd;
    result.n_ctx_total = options_.n_ctx_total;
    result.prefill_chunk = options_.prefill_chunk;
    result.n_branches = options_.n_branches;
    result.warms_up = options_.warms_up;
    result.pads = !recurrent() && !options_.whole_states;
    if (recurrent()) {
      result.max_batch = std::min(options_.max_batch, options_.max_rollback + 1);
      result.rollback = result.max_batch > 1 ? Rollback::kLastBatch : Rollback::kNothing;
    } else if (options_.whole_states) {
      result.rollback = Rollback::kCopies;
    }
    return result;
  }

  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    const bool spare =
        options_.whole_states && seqs.size() == 2 && seqs[1] == capabilities().spare_of(seqs[0]);
    if (seqs.size() != 1 && !spare) {
      throw PreconditionError("[open] a session of the target has one sequence, and its spare");
    }
    sessions_.open(id, Session{request, seqs.front()});
    const SeqId seq = seqs.front();
    if (recurrent() || request->scores_prompt()) truncate({seq, cells_.length(seq), 0});
    const int n_reused = cells_.open(seqs, request->prompt);
    for (const SeqId old : kept_texts_.open(id, seqs, room_of(*request, options_.n_ctx))) {
      truncate({old, cells_.length(old), 0});
    }
    return n_reused;
  }

  void prefill(GenerationId id, Pos begin, Pos end) override {
    Session& session = sessions_.at(id, "prefill");
    const Request& request = *session.request;
    step({&session.seq, 1});
    cells_.prefill(session.seq, request.prompt, begin, end, capabilities());
    if (!request.scores_prompt()) return;
    const std::span<const Token> cells = cells_.at(session.seq, "prefill");
    for (auto n = static_cast<std::size_t>(begin) + 1; n <= static_cast<std::size_t>(end); ++n) {
      const std::vector<float> scores = fake_scores(options_, cells.first(n), 1.0);
      session.scores.push_back(score_of(scores, request.prompt[n], request.prompt_logprobs));
    }
  }

  std::vector<TokenScore> take_prompt_scores(GenerationId id) override {
    return std::exchange(sessions_.at(id, "take_prompt_scores").scores, {});
  }

  ForcedRun forced(GenerationId id) override {
    return forced_from(static_cast<Pos>(sessions_.at(id, "forced").request->prompt.size()));
  }

  void close(GenerationId id, bool forget) override {
    const Session* session = sessions_.find(id);
    if (session == nullptr) return;
    if (forget) cells_.truncate({session->seq, cells_.length(session->seq), 0});
    kept_texts_.close(id, cells_.length(session->seq));
    sessions_.close(id);
  }

  Pos length(SeqId seq) const override { return cells_.length(seq); }

  void truncate(const Truncate& op) override {
    cells_.truncate(op);
    if (!recurrent() || op.length == op.expected) return;
    Batch& last = last_[op.seq];
    const bool right = !last.rolled_back && op.length > last.begin &&
                       op.expected - op.length <= options_.max_rollback;
    last.rolled_back = true;
    if (op.length > 0 && !right) ++cells_.at(op.seq, "truncate").front();
  }

  void fork(const Fork& op) override {
    if (recurrent()) throw PreconditionError("[fork] this target makes no copies");
    cells_.fork(op);
  }

  std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) override {
    cells_.check_segments(segments, n_pad, capabilities());
    for (const Segment& segment : segments) {
      const Session& session = sessions_.at(segment.generation_id, "verify");
      if (session.seq != segment.seq) {
        throw PreconditionError("[verify] another session's sequence");
      }
      if (session.request->processors && has_branches(segment.rows)) {
        throw PreconditionError("[verify] functions of the caller are asked about paths only");
      }
    }
    std::vector<SeqId> seqs;
    for (const Segment& segment : segments) {
      seqs.push_back(segment.seq);
      begin_processors(segment);
    }
    step(seqs);
    std::vector<SegmentResult> results;
    results.reserve(segments.size());
    try {
      for (const Segment& segment : segments) results.push_back(verify_segment(segment));
    } catch (const Aborted&) {
      for (const Segment& segment : segments) take_back(segment);
      cells_.end_early(seqs);
      throw;
    }
    return results;
  }

 private:
  struct Session {
    std::shared_ptr<const Request> request;
    SeqId seq = 0;
    std::vector<TokenScore> scores = {};  // NOLINT(readability-redundant-member-init): for GCC
  };

  /// What was decoded last in a sequence.
  struct Batch {
    Pos begin = 0;
    bool rolled_back = false;
  };

  bool recurrent() const { return options_.max_rollback >= 0; }

  /// A pass over `seqs`. A recurrent state that was cut short is lost.
  void step(std::span<const SeqId> seqs) {
    try {
      steps_.step([&] { return abort_requested(); });
    } catch (const Error&) {
      for (const SeqId seq : seqs) {
        if (recurrent()) cells_.truncate({seq, cells_.length(seq), 0});
      }
      cells_.end_early(seqs);
      throw;
    }
    for (const SeqId seq : seqs) last_[seq] = {cells_.length(seq), false};
  }

  void begin_processors(const Segment& segment) {
    const Request& request = *sessions_.at(segment.generation_id, "verify").request;
    if (!request.processors) return;
    std::vector<Token> text = cells_.at(segment.seq, "verify");
    for (const Row& row : segment.rows) {
      text.push_back(row.token);
      if (row.wanted) break;
    }
    // Which token ends a text depends on what stands before it.
    announce(request, text, segment, [](Token) { return false; });
  }

  void take_back(const Segment& segment) {
    const Pos length = cells_.length(segment.seq);
    if (!options_.whole_states) {
      cells_.truncate({segment.seq, length, recurrent() ? 0 : std::min(length, segment.pos)});
    }
  }

  SegmentResult verify_segment(const Segment& segment) {
    SegmentResult result;
    result.generation_id = segment.generation_id;
    try {
      verify_one(segment, result);
    } catch (const DecodeError&) {
      const bool chosen = !result.verification.choices.empty();
      (chosen ? result.verification.error : result.error) = std::current_exception();
      take_back(segment);
      cells_.end_early({&segment.seq, 1});
    }
    return result;
  }

  void verify_one(const Segment& segment, SegmentResult& result) {
    const Request& request = *sessions_.at(segment.generation_id, "verify").request;
    const std::vector<Row>& rows = segment.rows;
    std::vector<Token> seen = cells_.at(segment.seq, "verify");
    cells_.append_path(segment);
    Verification& verification = result.verification;
    std::size_t n_seen = 0;  // cells before the last choice
    for (std::optional<std::size_t> at = 0; at;) {
      const std::size_t i = *at;
      seen.push_back(rows[i].token);
      at = i + 1;
      if (!rows[i].wanted) continue;
      std::optional<Choice> choice = choose_next(request, seen, result);
      if (!choice) break;
      n_seen = seen.size();
      at = choice->end ? std::nullopt : row_after(rows, i, choice->token);
      verification.choices.push_back(std::move(*choice));
    }
    if (request.n_feature_layers > 0 && !verification.choices.empty()) {
      verification.features =
          fake_features(options_, std::span(seen).first(n_seen), verification.choices.back().token,
                        request.n_feature_layers);
    }
    if (n_seen > 0) verification.forced = forced_from(static_cast<Pos>(n_seen) + 1);
    if (request.processors) request.processors->end();
  }

  ForcedRun forced_from(Pos pos) const {
    ForcedRun run;
    for (auto token = fake_forced(options_, pos); token; token = fake_forced(options_, ++pos)) {
      if (pos >= options_.n_ctx) break;
      run.tokens.push_back(*token);
    }
    run.n_sure = run.tokens.size();
    return run;
  }

  /// Nothing if every token is forbidden, or as `process_row` says.
  std::optional<Choice> choose_next(const Request& request, std::span<const Token> context,
                                    SegmentResult& result) const {
    if (options_.nan_from >= 0 && static_cast<Pos>(context.size()) >= options_.nan_from) {
      throw DecodeError("[fake] the scores are no numbers, as asked");
    }
    const SamplingOptions& sampling = request.sampling;
    std::vector<float> scores = fake_scores(options_, context, 1.0);
    if (request.processors) {
      const std::vector<float> logits = scores;
      const auto aborting = [this] { return abort_requested(); };
      if (!process_row(request, logits, scores, result, aborting)) return std::nullopt;
    }
    auto scored = sampled(scores, request, context);
    if (const auto only = fake_forced(options_, static_cast<Pos>(context.size()))) {
      std::erase_if(scored, [&](const Scored& one) { return one.token != *only; });
    }
    const PositionNoise noise(sampling.seed, static_cast<Pos>(context.size()));
    const auto index = choose(scored, sampling.temperature > 0 ? &noise : nullptr);
    result.verification.exhausted = index < 0;
    if (index < 0) return std::nullopt;
    Choice choice;
    choice.token = scored[static_cast<std::size_t>(index)].token;
    choice.end = request.is_stop(choice.token) || ends_after(request, context);
    if (request.logprobs >= 0) {
      TokenScore score =
          score_of(fake_scores(options_, context, 1.0), choice.token, request.logprobs);
      choice.logprob = score.logprob;
      choice.top = std::move(score.top);
    }
    return choice;
  }

  /// Whether the model ends the text after `context`, whatever token it chooses.
  bool ends_after(const Request& request, std::span<const Token> context) const {
    if (options_.end_every <= 0 || !may_end_after(request, context)) return false;
    const std::uint64_t key = context_key(options_.model_seed + 99, context);
    return key % static_cast<std::uint64_t>(options_.end_every) == 0;
  }

  FakeOptions options_;
  FakeCells cells_;
  KeptTexts kept_texts_;
  FakeSteps steps_;
  Sessions<Session> sessions_;
  std::map<SeqId, Batch> last_;
};

class FakeDraft final : public DraftModel {
 public:
  explicit FakeDraft(const FakeOptions& options)
      : options_(options), cells_(options.n_seq, options.whole_states), steps_(options) {}

  Capabilities capabilities() const override {
    Capabilities result{options_.n_vocab, options_.n_ctx, options_.n_seq, options_.max_batch};
    result.prefill_chunk = options_.prefill_chunk;
    result.warms_up = options_.warms_up;
    if (options_.whole_states) result.rollback = Rollback::kCopies;
    return result;
  }

  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    sessions_.open(id, Session{request, {seqs.begin(), seqs.end()}});
    return cells_.open(seqs, request->prompt);
  }

  void prefill(GenerationId id, Pos begin, Pos end) override {
    const Session& session = sessions_.at(id, "prefill");
    step({&session.seqs.front(), 1});
    cells_.prefill(session.seqs.front(), session.request->prompt, begin, end, capabilities());
  }

  void close(GenerationId id, bool forget) override {
    const Session* session = sessions_.find(id);
    if (session == nullptr) return;
    for (const SeqId seq : session->seqs) {
      if (forget) cells_.truncate({seq, cells_.length(seq), 0});
    }
    sessions_.close(id);
  }

  Pos length(SeqId seq) const override { return cells_.length(seq); }

  void truncate(const Truncate& op) override { cells_.truncate(op); }
  void fork(const Fork& op) override { cells_.fork(op); }

  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                            std::span<const RankOptions> ranks) override {
    cells_.check_inputs(inputs, capabilities());
    std::vector<SeqId> seqs;
    for (const SequenceInput& input : inputs) {
      static_cast<void>(sessions_.at(input.generation_id, "draft"));
      seqs.push_back(input.seq);
    }
    step(seqs);
    std::vector<std::vector<Candidate>> answers;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const SequenceInput& input = inputs[i];
      const RankOptions& rank = ranks[ranks.size() == 1 ? 0 : i];
      const Request& request = *sessions_.at(input.generation_id, "draft").request;
      const SamplingOptions& sampling = request.sampling;
      const std::span<const Token> cells = cells_.append(input.seq, input.tokens);
      const auto scored = sampled(fake_scores(options_, cells, options_.alignment), request, cells);
      const PositionNoise noise(sampling.seed, request.n_skipped + static_cast<Pos>(cells.size()));
      answers.push_back(
          specbranch::rank(scored, sampling.temperature > 0 ? &noise : nullptr, rank.k));
    }
    return answers;
  }

 private:
  struct Session {
    std::shared_ptr<const Request> request;
    std::vector<SeqId> seqs;
  };

  /// A pass over `seqs`. A recurrent state that was cut short is lost.
  void step(std::span<const SeqId> seqs) {
    try {
      steps_.step([&] { return abort_requested(); });
    } catch (const Error&) {
      cells_.end_early(seqs);
      throw;
    }
  }

  FakeOptions options_;
  FakeCells cells_;
  FakeSteps steps_;
  Sessions<Session> sessions_;
};

}  // namespace

std::vector<float> fake_scores(const FakeOptions& options, std::span<const Token> context,
                               double alignment) {
  const PositionNoise target(context_key(options.model_seed, context), 0);
  const PositionNoise draft(context_key(options.model_seed + 1, context), 1);
  std::vector<float> scores(static_cast<std::size_t>(options.n_vocab));
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto token = static_cast<Token>(i);
    double score = target.gumbel(token);
    if (alignment < 1.0) score = alignment * score + (1.0 - alignment) * draft.gumbel(token);
    scores[i] = static_cast<float>(options.sharpness * score);
  }
  return scores;
}

std::optional<Token> fake_forced(const FakeOptions& options, Pos pos) {
  if (options.forced_every <= 0 || pos % options.forced_every >= options.forced_length) {
    return std::nullopt;
  }
  const PositionNoise noise(options.model_seed + 5, pos);
  return static_cast<Token>(noise.bits(0) % static_cast<std::uint64_t>(options.n_vocab));
}

std::vector<float> fake_features(const FakeOptions& options, std::span<const Token> context,
                                 Token next, int n_layers) {
  const std::uint64_t key = context_key(options.model_seed + 7, context);
  const auto whole = static_cast<float>(key >> 48U) / 65536.0F;
  std::vector<float> features;
  for (int layer = n_layers; layer > 0; --layer) {
    features.insert(features.end(),
                    {static_cast<float>(context.size() - 1), static_cast<float>(context.back()),
                     static_cast<float>(layer), whole});
  }
  const auto token = static_cast<float>(next);
  features.insert(features.end(), {token, token * token, token / 2.0F, 1.0F});
  return features;
}

std::unique_ptr<TargetModel> make_fake_target(const FakeOptions& options) {
  return std::make_unique<FakeTarget>(options);
}

std::unique_ptr<DraftModel> make_fake_draft(const FakeOptions& options) {
  return std::make_unique<FakeDraft>(options);
}

}  // namespace specbranch
