#include "specbranch/simulation/synthetic_pair.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <optional>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/model/row_tree.h"
#include "specbranch/model/sessions.h"
#include "specbranch/simulation/fake_cells.h"

namespace specbranch {
namespace {

std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

/// Numbers that depend on a key alone.
class Draws {
 public:
  explicit Draws(std::uint64_t key) : state_(mix(key)) {}

  std::uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15ULL); }

  /// In (0, 1).
  double uniform() { return (static_cast<double>(next() >> 11U) + 0.5) * 0x1p-53; }

  /// Beta(a, b) from two Gammas; 0 and 1 where a parameter is 0.
  double beta(double a, double b) {
    if (a <= 0.0) return 0.0;
    if (b <= 0.0) return 1.0;
    const double log_x = log_gamma_variate(a);
    const double log_y = log_gamma_variate(b);
    return 1.0 / (1.0 + std::exp(log_y - log_x));
  }

 private:
  double normal() {
    return std::sqrt(-2.0 * std::log(uniform())) * std::cos(2.0 * std::numbers::pi * uniform());
  }

  /// Logarithm of a Gamma(shape) variate (Marsaglia and Tsang, 2000); in logs, because a small
  /// shape gives numbers that a double cannot hold.
  double log_gamma_variate(double shape) {
    double offset = 0.0;
    if (shape < 1.0) {
      offset = std::log(uniform()) / shape;
      shape += 1.0;
    }
    const double d = shape - 1.0 / 3.0;
    const double c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      const double x = normal();
      const double v = 1.0 + c * x;
      if (v <= 0.0) continue;
      const double log_v = 3.0 * std::log(v);
      if (std::log(uniform()) < 0.5 * x * x + d - d * std::exp(log_v) + d * log_v) {
        return offset + std::log(d) + log_v;
      }
    }
  }

  std::uint64_t state_;
};

/// The text: the prompt, what was recorded, then a hash of the position, or of the one that it
/// repeats.
class TrueText {
 public:
  TrueText(const SyntheticOptions& options, std::shared_ptr<const Request> request)
      : seed_(mix(options.seed + request->sampling.seed)),
        own_(mix(request->sampling.seed) - mix(0)),
        n_vocab_(static_cast<std::uint64_t>(options.n_vocab)),
        text_begin_(static_cast<std::size_t>(options.text_begin)),
        copy_rate_(options.copy_rate),
        copy_length_(static_cast<std::size_t>(options.copy_length)),
        recorded_(options.text),
        request_(std::move(request)) {}

  const std::vector<Token>& prompt() const { return request_->prompt; }

  /// Of what is drawn about this text; 0 without a seed of its own.
  std::uint64_t own() const { return own_; }

  /// Tokens of the text before the prompt.
  Pos n_skipped() const { return request_->n_skipped; }

  Token at(Pos pos) const {
    const auto i = static_cast<std::size_t>(pos);
    if (i < prompt().size()) return prompt()[i];
    const std::size_t place = i + static_cast<std::size_t>(n_skipped());
    if (place >= text_begin_ && place - text_begin_ < recorded_.size()) {
      return recorded_[place - text_begin_];
    }
    const std::size_t of_text = first_place(place);
    return static_cast<Token>(mix(seed_ + of_text * 0xD6E8FEB86659FD93ULL) % n_vocab_);
  }

  /// How many of the first `cells` are as the text has them, `known` of which need no look.
  Pos count_right(std::span<const Token> cells, Pos known) const {
    while (static_cast<std::size_t>(known) < cells.size() &&
           cells[static_cast<std::size_t>(known)] == at(known)) {
      ++known;
    }
    return known;
  }

 private:
  /// Where the token that stands at `pos` stands first.
  std::size_t first_place(std::size_t pos) const {
    if (copy_rate_ <= 0.0 || pos < text_begin_) return pos;
    const std::size_t offset = (pos - text_begin_) % copy_length_;
    std::size_t stretch = (pos - text_begin_) / copy_length_;
    while (stretch > 0) {
      Draws draws(seed_ ^ mix(stretch));
      if (draws.uniform() >= copy_rate_) break;
      stretch = static_cast<std::size_t>(draws.next() % stretch);
    }
    return text_begin_ + stretch * copy_length_ + offset;
  }

  std::uint64_t seed_;
  std::uint64_t own_;
  std::uint64_t n_vocab_;
  std::size_t text_begin_;
  double copy_rate_;
  std::size_t copy_length_;
  std::vector<Token> recorded_;
  std::shared_ptr<const Request> request_;
};

/// Proposes by the law of the options, or as it was recorded.
class Proposals {
 public:
  explicit Proposals(const SyntheticOptions& options) : options_(options) {
    for (std::size_t i = 0; i < options_.replay.size(); ++i) {
      if (!options_.replay[i].confidences.empty()) known_.push_back(i);
    }
  }

  /// `pos`: of the token that is proposed. `key`: of what is drawn.
  DraftRecord at(Pos pos, std::uint64_t key, bool on_text) const {
    Draws draws(options_.seed ^ mix(key));
    const auto i = static_cast<std::size_t>(std::max(0, pos - options_.text_begin));
    if (known_.empty()) return drawn(alpha_at(static_cast<std::int64_t>(i)), draws);
    if (on_text) {
      const DraftRecord& record = options_.replay[i % options_.replay.size()];
      if (!record.confidences.empty()) return record;
    }
    return options_.replay[known_[draws.next() % known_.size()]];
  }

 private:
  double alpha_at(std::int64_t i) const {
    for (const AcceptanceSegment& segment : options_.segments) {
      if (i < segment.n_tokens) return segment.alpha;
      i -= segment.n_tokens;
    }
    return options_.segments.empty() ? options_.alpha : options_.segments.back().alpha;
  }

  DraftRecord drawn(double alpha, Draws& draws) const {
    const double c = options_.concentration;
    const double first = draws.beta(alpha * c, (1.0 - alpha) * c);
    DraftRecord record;
    double u = draws.uniform();
    const double d = options_.distortion;
    const double raised = std::pow(first, d);
    const double reported =
        d == 1.0 ? first : raised / std::max(1e-300, raised + std::pow(1.0 - first, d));
    for (std::size_t rank = 0; rank <= options_.rank_hits.size(); ++rank) {
      // What is right with probability p says p; no rank may exceed the first one.
      const double share = rank == 0 ? 0.0 : options_.rank_hits[rank - 1];
      const double p = rank == 0 ? first : std::min(first, (1.0 - first) * share);
      const double q = rank == 0 ? reported : std::min(reported, (1.0 - reported) * share);
      if (u >= 0.0 && u < p) record.hit_rank = static_cast<int>(rank);
      u -= p;
      record.confidences.push_back(static_cast<float>(q));
    }
    return record;
  }

  SyntheticOptions options_;
  std::vector<std::size_t> known_;
};

std::uint64_t hash_of(std::span<const Token> tokens) {
  std::uint64_t key = tokens.size();
  for (const Token token : tokens) key = mix(key + static_cast<std::uint64_t>(token) + 1);
  return key;
}

class SyntheticTarget final : public TargetModel {
 public:
  explicit SyntheticTarget(const SyntheticOptions& options)
      : options_(options),
        limits_{options.n_vocab, options.n_ctx, options.n_target_seq, options.max_batch},
        cells_(options.n_target_seq, /*whole=*/false),
        n_right_(static_cast<std::size_t>(options.n_target_seq), 0) {
    limits_.n_branches = options.n_branches;
  }

  Capabilities capabilities() const override { return limits_; }

  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    sessions_.open(id, Session{TrueText(options_, request), seqs.front()});
    right(seqs.front()) = 0;
    return cells_.open(seqs, request->prompt);
  }

  void prefill(GenerationId id, Pos begin, Pos end) override {
    if (abort_requested()) throw Aborted("[synthetic] aborted");
    const Session& session = sessions_.at(id, "prefill");
    cells_.prefill(session.seq, session.text.prompt(), begin, end, limits_);
  }

  void close(GenerationId id, bool forget) override {
    const Session* session = sessions_.find(id);
    if (forget && session != nullptr) truncate({session->seq, length(session->seq), 0});
    sessions_.close(id);
  }

  Pos length(SeqId seq) const override { return cells_.length(seq); }

  void truncate(const Truncate& op) override {
    cells_.truncate(op);
    right(op.seq) = std::min(right(op.seq), op.length);
  }

  void fork(const Fork& /*op*/) override {
    throw PreconditionError("[SyntheticTarget::fork] its sequences are of different texts");
  }

  std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) override {
    cells_.check_segments(segments, n_pad, limits_);
    if (abort_requested()) throw Aborted("[synthetic] aborted");
    std::vector<SegmentResult> results;
    results.reserve(segments.size());
    for (const Segment& segment : segments) {
      results.push_back({segment.generation_id, verified(segment), nullptr});
    }
    return results;
  }

 private:
  struct Session {
    TrueText text;
    SeqId seq = 0;
  };

  Pos& right(SeqId seq) { return n_right_[static_cast<std::size_t>(seq)]; }

  Verification verified(const Segment& segment) {
    const TrueText& text = sessions_.at(segment.generation_id, "verify").text;
    const std::vector<Row>& rows = segment.rows;
    Pos& n_right = right(segment.seq);
    n_right = text.count_right(cells_.at(segment.seq, "verify"), n_right);
    bool on_text = n_right == segment.pos;
    std::vector<Token> walked;
    Verification verification;
    for (std::optional<std::size_t> at = 0; at;) {
      const std::size_t i = *at;
      const Pos pos = segment.pos + static_cast<Pos>(walked.size());
      on_text = on_text && text.at(pos) == rows[i].token;
      walked.push_back(rows[i].token);
      at = i + 1;
      if (!rows[i].wanted) continue;
      // On a wrong text another token: a cell that should not be there must show.
      const Token token = on_text ? text.at(pos + 1) : wrong(segment, walked);
      verification.choices.push_back(Choice{token, false, 0.0F, {}});
      at = row_after(rows, i, token);
    }
    cells_.append_path(segment);
    return verification;
  }

  Token wrong(const Segment& segment, std::span<const Token> walked) const {
    std::vector<Token> all = cells_.at(segment.seq, "verify");
    all.insert(all.end(), walked.begin(), walked.end());
    return static_cast<Token>(hash_of(all) % static_cast<std::uint64_t>(limits_.n_vocab));
  }

  SyntheticOptions options_;
  Capabilities limits_;
  FakeCells cells_;
  Sessions<Session> sessions_;
  std::vector<Pos> n_right_;  ///< by sequence: so many first cells were found to be the text.
};

class SyntheticDraft final : public DraftModel {
 public:
  explicit SyntheticDraft(const SyntheticOptions& options)
      : options_(options),
        limits_{options.n_vocab, options.n_ctx, options.n_seq, options.max_batch},
        proposals_(options),
        cells_(options.n_seq, /*whole=*/false),
        n_right_(static_cast<std::size_t>(options.n_seq), 0) {}

  Capabilities capabilities() const override { return limits_; }

  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    sessions_.open(id, Session{TrueText(options_, request), {seqs.begin(), seqs.end()}});
    const int n_reused = cells_.open(seqs, request->prompt);
    for (const SeqId seq : seqs) n_right_[static_cast<std::size_t>(seq)] = cells_.length(seq);
    return n_reused;
  }

  void prefill(GenerationId id, Pos begin, Pos end) override {
    if (abort_requested()) throw Aborted("[synthetic] aborted");
    const Session& session = sessions_.at(id, "prefill");
    cells_.prefill(session.seqs.front(), session.text.prompt(), begin, end, limits_);
    n_right_[static_cast<std::size_t>(session.seqs.front())] = end;
  }

  void close(GenerationId id, bool forget) override {
    const Session* session = sessions_.find(id);
    if (session == nullptr) return;
    for (const SeqId seq : session->seqs) {
      if (forget) truncate({seq, length(seq), 0});
    }
    sessions_.close(id);
  }

  Pos length(SeqId seq) const override { return cells_.length(seq); }

  void truncate(const Truncate& op) override {
    cells_.truncate(op);
    forget(op.seq, op.length);
  }

  void fork(const Fork& op) override {
    cells_.fork(op);
    forget(op.to, op.shared);
  }

  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                            std::span<const RankOptions> ranks) override {
    cells_.check_inputs(inputs, limits_);
    if (abort_requested()) throw Aborted("[synthetic] aborted");
    std::vector<std::vector<Candidate>> answers;
    answers.reserve(inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const SequenceInput& input = inputs[i];
      const RankOptions& rank = ranks[ranks.size() == 1 ? 0 : i];
      const TrueText& text = sessions_.at(input.generation_id, "draft").text;
      const std::span<const Token> cells = cells_.append(input.seq, input.tokens);
      Pos& right = n_right_[static_cast<std::size_t>(input.seq)];
      right = text.count_right(cells, right);
      answers.push_back(propose(text, cells, right, rank.k));
    }
    return answers;
  }

 private:
  struct Session {
    TrueText text;
    std::vector<SeqId> seqs;
  };

  void forget(SeqId seq, Pos length) {
    Pos& right = n_right_[static_cast<std::size_t>(seq)];
    right = std::min(right, length);
  }

  std::vector<Candidate> propose(const TrueText& text, std::span<const Token> cells, Pos n_right,
                                 int k) const {
    const auto next = static_cast<Pos>(cells.size());
    const bool on_text = n_right == next;
    // Off the text: what is drawn depends on the tokens since it was left.
    const std::uint64_t place =
        on_text ? static_cast<std::uint64_t>(text.n_skipped() + next)
                : mix(hash_of(cells.subspan(static_cast<std::size_t>(n_right)))) +
                      static_cast<std::uint64_t>(n_right);
    const std::uint64_t key = place + text.own();
    const DraftRecord record = proposals_.at(text.n_skipped() + next, key, on_text);
    const Token truth = text.at(next);
    const auto others = static_cast<std::uint64_t>(limits_.n_vocab - 1);
    const std::uint64_t first = mix(key + 0x5851F42D4C957F2DULL) % others;
    std::vector<Candidate> candidates;
    for (std::size_t rank = 0; rank < record.confidences.size() && static_cast<int>(rank) < k;
         ++rank) {
      // Different from each other and from the truth: a walk over the other tokens.
      const std::uint64_t step = 1 + (first + rank) % others;
      const auto wrong = static_cast<Token>((static_cast<std::uint64_t>(truth) + step) %
                                            static_cast<std::uint64_t>(limits_.n_vocab));
      const bool is_truth = on_text && record.hit_rank == static_cast<int>(rank);
      candidates.push_back({is_truth ? truth : wrong, record.confidences[rank]});
    }
    return candidates;
  }

  SyntheticOptions options_;
  Capabilities limits_;
  Proposals proposals_;
  FakeCells cells_;
  Sessions<Session> sessions_;
  std::vector<Pos> n_right_;  ///< by sequence: so many first cells were found to be the text.
};

void require(bool fine, const std::string& what, const std::string& limits) {
  if (!fine) throw InvalidArgument("[SyntheticOptions] " + what + "; " + limits);
}

bool is_probability(double p) { return p >= 0.0 && p <= 1.0; }

}  // namespace

void validate(const SyntheticOptions& options) {
  const auto text = [](auto value) { return std::to_string(value); };
  const std::size_t n_ranks = 1 + options.rank_hits.size();
  require(options.n_vocab > static_cast<int>(n_ranks), "n_vocab is " + text(options.n_vocab),
          "more than the " + text(n_ranks) + " candidates are needed");
  require(options.n_ctx >= 2, "n_ctx is " + text(options.n_ctx), "at least 2 is needed");
  require(options.n_seq >= 1, "n_seq is " + text(options.n_seq), "at least 1 is needed");
  require(options.n_target_seq >= 1, "n_target_seq is " + text(options.n_target_seq),
          "at least 1 is needed");
  require(options.n_branches >= 0, "n_branches is " + text(options.n_branches), "it is 0 or more");
  require(options.max_batch >= 1, "max_batch is " + text(options.max_batch),
          "at least 1 is needed");
  require(is_probability(options.alpha), "alpha is " + text(options.alpha), "it is 0 to 1");
  for (const AcceptanceSegment& segment : options.segments) {
    require(is_probability(segment.alpha), "alpha of a segment is " + text(segment.alpha),
            "it is 0 to 1");
    require(segment.n_tokens >= 1, "n_tokens of a segment is " + text(segment.n_tokens),
            "at least 1 is needed");
  }
  double last = 1.0;
  for (const double share : options.rank_hits) {
    require(share >= 0.0 && share <= last, "rank_hits has " + text(share) + " after " + text(last),
            "shares are 0 to 1 and do not increase");
    last = share;
  }
  const double sum = std::accumulate(options.rank_hits.begin(), options.rank_hits.end(), 0.0);
  require(sum <= 1.0 + 1e-9, "rank_hits sums to " + text(sum), "at most 1");
  require(options.concentration > 0.0 && std::isfinite(options.concentration),
          "concentration is " + text(options.concentration), "it is above 0");
  require(options.distortion > 0.0 && std::isfinite(options.distortion),
          "distortion is " + text(options.distortion), "it is above 0");
  bool any_known = options.replay.empty();
  for (const DraftRecord& record : options.replay) {
    any_known = any_known || !record.confidences.empty();
    require(record.hit_rank < static_cast<int>(record.confidences.size()),
            "a record's hit_rank is " + text(record.hit_rank),
            "there are " + text(record.confidences.size()) + " candidates");
    require(static_cast<int>(record.confidences.size()) < options.n_vocab,
            "a record has " + text(record.confidences.size()) + " candidates",
            "fewer than n_vocab are possible");
    require(std::ranges::all_of(record.confidences,
                                [](float q) { return is_probability(static_cast<double>(q)); }),
            "a record has a confidence out of range", "it is 0 to 1");
  }
  require(any_known, "replay has no record with candidates", "at least one is needed");
  require(is_probability(options.copy_rate), "copy_rate is " + text(options.copy_rate),
          "it is 0 to 1");
  require(options.copy_length >= 1, "copy_length is " + text(options.copy_length),
          "at least 1 is needed");
  require(std::ranges::all_of(options.text,
                              [&](Token token) { return token >= 0 && token < options.n_vocab; }),
          "text has a token that is out of range", "they are below " + text(options.n_vocab));
  require(options.text_begin >= 1, "text_begin is " + text(options.text_begin),
          "at least 1 is needed");
}

std::unique_ptr<TargetModel> make_synthetic_target(const SyntheticOptions& options) {
  validate(options);
  return std::make_unique<SyntheticTarget>(options);
}

std::unique_ptr<DraftModel> make_synthetic_draft(const SyntheticOptions& options) {
  validate(options);
  return std::make_unique<SyntheticDraft>(options);
}

}  // namespace specbranch
