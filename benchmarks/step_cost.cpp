// What steps of two models cost: verifications by length, draft passes by width, each model alone
// and while the other one works. `cost_curves.py` runs this and makes curves of it.
//
//   build/llama/specbranch_step_cost TARGET.gguf DRAFT.gguf [--option value ...]
//
// Commands go through the engine's own workers, one thread a model. Steps come in groups of one
// length: the first has another shape than the step before it (as while speculating), the last ones
// have the same (as while decoding token by token, where llama.cpp reuses its graph).
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "specbranch/base/clock.h"
#include "specbranch/decoder/cost_measurement.h"
#include "specbranch/engine/worker.h"
#include "specbranch/llama/context/sizes.h"
#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/models/factory.h"
#include "specbranch/llama/vocabulary/compatible.h"
#include "specbranch/model/prompt_reader.h"
#include "step_cost_settings.h"

namespace {

using namespace specbranch;
using llama::Weights;
using step_cost::kGrowth;
using step_cost::Settings;

constexpr int kGroup = 4;   // steps of one length in a row ...
constexpr int kSteady = 2;  // ... of which so many at the end are steady.
constexpr int kCandidates = 8;

/// The dummy text that a model continues.
class Text {
 public:
  Text(std::vector<Token> tokens, int start, int n_seq, int chunk)
      : tokens_(std::move(tokens)), start_(start), n_seq_(n_seq), chunk_(chunk) {}
  virtual ~Text() = default;
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  bool must_begin(int n) const { return !begun_ || length_ + n > start_ + kGrowth; }

  Command begin() {
    Request request;
    request.mode = Mode::kAutoregressive;
    for (int i = 0; i < start_; ++i) {
      request.prompt.push_back(tokens_[static_cast<std::size_t>(i) % tokens_.size()]);
    }
    last_ = request.prompt.back();
    begun_ = true;
    length_ = start_ - 1;
    OpenCommand open{std::make_shared<const Request>(std::move(request))};
    open.seqs.resize(static_cast<std::size_t>(n_seq_));
    std::iota(open.seqs.begin(), open.seqs.end(), 0);
    return {0, std::move(open)};
  }

  /// The session is open: what comes next, if the text is not read yet.
  std::optional<Command> opened(const OpenDone& event) {
    reader_ = PromptReader(event.n_reused, length_, chunk_);
    lengths_ = event.lengths;
    return read_on();
  }
  std::optional<Command> read(const PrefillDone& event) {
    reader_.read(event.length);
    lengths_.front() = event.length;
    return read_on();
  }

  virtual Command step(int n) = 0;
  virtual void done(const Event& event, int n) = 0;

 protected:
  /// The text is read; the sequences hold so much of it.
  virtual void begun(const std::vector<Pos>& lengths) = 0;

  Token next_token() { return tokens_[n_used_++ % tokens_.size()]; }

  Pos length_ = 0;
  Token last_ = 0;
  bool begun_ = false;

 private:
  std::optional<Command> read_on() {
    if (const auto chunk = reader_.next()) return Command{0, *chunk};
    begun(lengths_);
    return std::nullopt;
  }

  std::vector<Token> tokens_;
  Pos start_;
  int n_seq_;
  int chunk_;
  PromptReader reader_;
  std::vector<Pos> lengths_;
  std::size_t n_used_ = 0;
};

class TargetText final : public Text {
 public:
  using Text::Text;

  Command step(int n) override {
    std::vector<Token> path{last_};
    while (static_cast<int>(path.size()) < n) path.push_back(next_token());
    VerifyCommand verify;
    if (held_ > length_) verify.ops.emplace_back(Truncate{0, held_, length_});
    verify.segments.push_back(path_segment(0, 0, length_, path));
    return {0, std::move(verify)};
  }

  void done(const Event& event, int n) override {
    const SegmentResult& result = std::get<VerifyDone>(event.body).results.front();
    if (result.error) std::rethrow_exception(result.error);
    const std::vector<Choice>& choices = result.verification.choices;
    held_ = length_ + n;
    length_ += static_cast<Pos>(choices.size());
    if (choices.empty()) {
      begun_ = false;
    } else {
      last_ = choices.back().token;
    }
  }

 private:
  void begun(const std::vector<Pos>& /*lengths*/) override { held_ = length_; }

  Pos held_ = 0;
};

class DraftText final : public Text {
 public:
  DraftText(std::vector<Token> tokens, int start, int n_seq, int chunk)
      : Text(std::move(tokens), start, n_seq, chunk), branches_(static_cast<std::size_t>(n_seq)) {}

  Command step(int n) override {
    DraftCommand draft;
    draft.rank = kCandidates;
    for (SeqId seq = 0; seq < n; ++seq) {
      const Branch& branch = branches_[static_cast<std::size_t>(seq)];
      if (seq > 0) draft.ops.emplace_back(Fork{0, seq, branch.shared, branch.held, length_});
      draft.inputs.push_back({kNoNode, seq, length_, {next_token()}});
    }
    return {0, std::move(draft)};
  }

  void done(const Event& /*event*/, int n) override {
    for (int i = 0; i < n; ++i) branches_[static_cast<std::size_t>(i)] = {length_, length_ + 1};
    ++length_;
  }

 private:
  void begun(const std::vector<Pos>& lengths) override {
    for (std::size_t i = 0; i < branches_.size(); ++i) branches_[i] = {lengths[i], lengths[i]};
  }

  struct Branch {
    Pos shared = 0;  ///< cells that equal those of sequence 0.
    Pos held = 0;
  };

  std::vector<Branch> branches_;
};

struct Times {
  std::vector<std::int64_t> changed_us;  ///< of steps after one of another length.
  std::vector<std::int64_t> steady_us;
  std::vector<std::int64_t> hop_us;  ///< from the command to its event, the step left out.
};

using Curve = std::map<int, Times>;

class StepClock {
 public:
  explicit StepClock(const Settings& settings);

  int max_length() const { return limits_.target.max_batch; }
  int max_width() const { return limits_.draft->n_seq; }
  Curve measure(ModelRole role, std::span<const int> lengths, bool beside);

 private:
  struct Player {
    std::unique_ptr<Text> text;
    bool busy = false;
    int n = 0;
    bool stepping = false;  ///< the command under way is a step, not the begin of a text.
    std::int64_t issued_us = 0;
  };

  Player& player(ModelRole role) { return players_[role == ModelRole::kTarget ? 0 : 1]; }
  void issue(ModelRole role, int n);
  std::optional<Event> receive(ModelRole role);
  Event step(ModelRole role, int n, bool beside);
  void send(ModelRole role, Command command);

  const Settings& settings_;
  Channel<Event> events_;
  Channel<WorkerReady> ready_;
  ModelLimits limits_;
  Player players_[2];
  std::unique_ptr<Worker<TargetModel>> target_;
  std::unique_ptr<Worker<DraftModel>> draft_;
};

StepClock::StepClock(const Settings& settings) : settings_(settings) {
  const auto target = Weights::load(settings.target);
  const auto draft = Weights::load(settings.draft);
  llama::SharedVocabulary shared =
      llama::check_compatible(target->vocabulary(), draft->vocabulary());
  const llama::PairSizes sizes = llama::pair_sizes(16, 4, settings.draft);
  llama::TargetOptions target_options;
  llama::DraftOptions draft_options;
  draft_options.n_common = shared.n_common;
  draft_options.never_proposed = std::move(shared.different);
  draft_options.n_seq = std::max(sizes.n_seq, std::ranges::max(settings.widths));
  draft_options.reserve = sizes.reserve;
  const auto on_ready = [this](WorkerReady ready) { ready_.send(std::move(ready)); };
  const auto on_event = [this](Event event) { events_.send(std::move(event)); };
  target_ = std::make_unique<Worker<TargetModel>>(
      ModelRole::kTarget, llama::target_factory(target, settings.target, target_options), on_ready,
      on_event);
  draft_ = std::make_unique<Worker<DraftModel>>(
      ModelRole::kDraft, llama::draft_factory(draft, settings.draft, draft_options), on_ready,
      on_event);
  for (int i = 0; i < 2; ++i) {
    const WorkerReady ready = ready_.receive().value();
    if (ready.error) std::rethrow_exception(ready.error);
    if (ready.role == ModelRole::kTarget) {
      limits_.target = ready.capabilities;
    } else {
      limits_.draft = ready.capabilities;
    }
  }
  if (!limits_.target.can_roll_back()) throw std::runtime_error("the target cannot roll back");
  std::vector<std::string> pieces;
  for (Token token = 0; token < target->vocabulary().size(); ++token) {
    pieces.push_back(target->vocabulary().piece(token));
  }
  const std::vector<Token> tokens = dummy_tokens(pieces, limits_);
  players_[0].text =
      std::make_unique<TargetText>(tokens, settings.start, 1, limits_.target.prefill_chunk);
  players_[1].text = std::make_unique<DraftText>(tokens, settings.start, limits_.draft->n_seq,
                                                 limits_.draft->prefill_chunk);
}

void StepClock::send(ModelRole role, Command command) {
  Player& own = player(role);
  own.busy = true;
  own.issued_us = now_us();
  if (role == ModelRole::kTarget) {
    target_->send(std::move(command));
  } else {
    draft_->send(std::move(command));
  }
}

/// A step, after the begin of a text where that is due.
void StepClock::issue(ModelRole role, int n) {
  Player& own = player(role);
  own.n = n;
  own.stepping = !own.text->must_begin(n);
  send(role, own.stepping ? own.text->step(n) : own.text->begin());
}

/// Waits for an event; returns it if it ends a step of `role`.
std::optional<Event> StepClock::receive(ModelRole role) {
  Event event = events_.receive().value();
  if (const auto* fail = std::get_if<FailDone>(&event.body)) std::rethrow_exception(fail->error);
  Player& own = player(event.role);
  own.busy = false;
  if (!own.stepping) {
    const auto* open = std::get_if<OpenDone>(&event.body);
    std::optional<Command> chunk = open != nullptr
                                       ? own.text->opened(*open)
                                       : own.text->read(std::get<PrefillDone>(event.body));
    if (chunk) {
      send(event.role, std::move(*chunk));
    } else {
      issue(event.role, own.n);
    }
    return std::nullopt;
  }
  own.text->done(event, own.n);
  if (event.role != role) return std::nullopt;
  return event;
}

/// Beside: the other model decodes token after token, and keeps doing so when this returns.
Event StepClock::step(ModelRole role, int n, bool beside) {
  const ModelRole other = role == ModelRole::kTarget ? ModelRole::kDraft : ModelRole::kTarget;
  if (beside && !player(other).busy) issue(other, 1);
  issue(role, n);
  for (;;) {
    std::optional<Event> event = receive(role);
    if (beside && !player(other).busy) issue(other, 1);
    if (event) return std::move(*event);
  }
}

Curve StepClock::measure(ModelRole role, std::span<const int> lengths, bool beside) {
  const ModelRole other = role == ModelRole::kTarget ? ModelRole::kDraft : ModelRole::kTarget;
  Curve curve;
  for (const int n : lengths) step(role, n, beside);  // the first of a kind sets things up
  const std::int64_t begin_us = now_us();
  for (int round = 0; round < settings_.repeats; ++round) {
    for (const int n : lengths) {
      Times& times = curve[n];
      const auto spent = static_cast<double>(now_us() - begin_us) / 1e6;
      if (round > 0 && spent > settings_.seconds) break;
      for (int i = 0; i < kGroup; ++i) {
        const Event event = step(role, n, beside);
        const std::int64_t period_us = now_us() - player(role).issued_us;
        const std::int64_t us = event.end_us - event.begin_us - event.ops_us;
        if (i == 0 && (lengths.size() > 1)) times.changed_us.push_back(us);
        if (i >= kGroup - kSteady) {
          times.steady_us.push_back(us);
          times.hop_us.push_back(period_us - (event.end_us - event.begin_us));
        }
      }
    }
  }
  while (player(other).busy) receive(role);
  return curve;
}

// Output -----------------------------------------------------------------------------------

void print(const char* name, const std::vector<std::int64_t>& values) {
  std::printf(", \"%s\": [", name);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::printf("%s%lld", i > 0 ? ", " : "", static_cast<long long>(values[i]));
  }
  std::printf("]");
}

/// A line of JSON for each length.
void print(ModelRole role, bool beside, const Curve& curve) {
  for (const auto& [n, times] : curve) {
    std::printf(R"({"side": "%s", "n": %d, "beside": %s)",
                role == ModelRole::kTarget ? "target" : "draft", n, beside ? "true" : "false");
    print("changed_us", times.changed_us);
    print("steady_us", times.steady_us);
    print("hop_us", times.hop_us);
    std::printf("}\n");
  }
  std::fflush(stdout);
}

void check_longest(const char* name, const std::vector<int>& values, int most) {
  const auto [low, high] = std::ranges::minmax(values);
  if (low < 1 || high > most) {
    throw std::runtime_error(std::string(name) + " must be in 1 .. " + std::to_string(most));
  }
}

void run(const Settings& settings) {
  check_longest("--widths", settings.widths, 64);
  StepClock clock(settings);
  check_longest("--lengths", settings.lengths, clock.max_length());
  check_longest("--widths", settings.widths, clock.max_width());
  std::printf("{\"target_threads\": %d, \"draft_threads\": %d}\n", settings.target.n_threads,
              settings.draft.n_threads);
  for (const bool beside : {false, true}) {
    print(ModelRole::kTarget, beside, clock.measure(ModelRole::kTarget, settings.lengths, beside));
    print(ModelRole::kDraft, beside, clock.measure(ModelRole::kDraft, settings.widths, beside));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s TARGET.gguf DRAFT.gguf [--option value ...]\n", argv[0]);
    return 2;
  }
  try {
    run(step_cost::parse_settings({argv, static_cast<std::size_t>(argc)}));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
