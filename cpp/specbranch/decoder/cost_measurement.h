/// Measures the step costs of a pair with dummy tokens. Private to the core; see `Engine`.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "specbranch/decoder/decoder.h"
#include "specbranch/decoder/step_samples.h"
#include "specbranch/report/profile.h"

namespace specbranch {

/// Tokens that say something in both vocabularies (not control tokens, whose piece is empty),
/// spread over all ids: a mixture of experts is slower when tokens differ. `pieces`: the bytes of
/// each; beyond it nothing is known of a token.
std::vector<Token> dummy_tokens(const std::vector<std::string>& pieces, const ModelLimits& limits);

/// Measures StepCosts through the workers' ordinary commands: events in, commands out. No threads,
/// no clock but that of the events.
///
/// First each model on a device that prepares its kernels late (`Capabilities::warms_up`) takes a
/// step of every length, and the budget begins afterwards. Lengths for which that took too long
/// are not measured.
///
/// In this order, as far as the budget goes: one step of each model to get warm; single steps of
/// each alone; both at once, for the slow-downs; other lengths, the most useful first; then
/// everything again, up to five times while times scatter, or what was disturbed at least. A slow
/// model gets the first ones only. The texts are short, so that attention costs what it does at the
/// beginning of a text.
///
/// *Thread safety:* none; owned by one thread.
/// *Lifecycle:* `start()` once, then `on(event)` for the answer to every command, until `done()`;
/// both models are then empty. `stop()` when the budget is over: what is under way is cut short.
class CostMeasurement {
 public:
  static constexpr int kMaxTokens = 17;     ///< longest verification measured.
  static constexpr int kMaxSequences = 16;  ///< widest draft pass measured.
  /// No step of the warm-up but the first one of each model begins later. The driver of a GPU
  /// compiles for seconds, once for a machine.
  static constexpr std::int64_t kWarmUpUs = 30'000'000;

  /// Without a draft only the target is measured. The target can roll back. `tokens` is not empty.
  CostMeasurement(const ModelLimits& limits, std::vector<Token> tokens, std::int64_t budget_us);

  Commands start(std::int64_t now_us);
  Commands on(const Event& event);

  /// Ends it with what is measured; the answers to running commands are still awaited.
  Commands stop();

  bool done() const { return phase_ == Phase::kDone; }
  /// It only waits for answers, and empties the models.
  bool stopping() const { return phase_ == Phase::kClean; }
  /// When it has to be stopped.
  std::int64_t deadline_us() const;

  /// What a model failed with, if one did. Recoverable: the models are empty and usable.
  std::exception_ptr error() const { return error_; }

  /// Nothing (not `known()`) after an error, or if not even single steps fitted into the budget.
  StepCosts costs() const;

 private:
  enum class Phase : std::uint8_t { kWarmUp, kFirst, kSingles, kOverlap, kRounds, kClean, kDone };

  struct Step {
    ModelRole role = ModelRole::kTarget;
    int n = 1;
    bool counted = true;
  };

  /// One model: what it holds and what it does.
  struct Model {
    int max_n = 1;             ///< longest step that is measured.
    bool warms_up = false;     ///< a length has to be warm before it is measured.
    std::set<int> warm;        ///< lengths.
    Pos limit = 0;             ///< positions that the dummy text may have.
    Pos length = 0;            ///< of the dummy text.
    bool busy = false;         ///< a command is under way.
    bool begun = false;        ///< a dummy text is in place.
    bool cleaned = false;      ///< emptied for good, or at least told to.
    std::optional<Step> step;  ///< under way, or waiting for the text to begin anew.
    std::int64_t issued_us = 0;
    StepSamples alone;
    StepSamples periods;  ///< of single steps, from one's end to the next one's.
    std::vector<std::int64_t> overlapped_us;  ///< the same while both run.
  };

  Model& model(ModelRole role) { return role == ModelRole::kTarget ? target_ : draft_; }
  bool busy() const { return target_.busy || draft_.busy; }
  std::span<const ModelRole> roles() const;
  std::int64_t left_us() const { return begin_us_ + budget_us_ - now_us_; }

  void proceed(Commands& commands);
  bool issue_planned(Commands& commands);
  void enter(Phase phase);
  void plan_warm_up();
  void plan_round();
  double spent() const {
    return 1.0 - static_cast<double>(left_us()) / static_cast<double>(budget_us_);
  }
  bool wants_round() const;
  bool wants_full_round() const;
  bool fits(const Step& step);
  void overlap(Commands& commands);
  void finish_step(const Event& event);
  void clean(Commands& commands);

  void issue(const Step& step, Commands& commands);
  void begin_text(ModelRole role, Commands& commands);
  Command verify_command(int n);
  Command draft_command(int n_sequences);
  Token next_token() { return tokens_[n_tokens_used_++ % tokens_.size()]; }
  static double slowdown(const Model& model);

  std::vector<Token> tokens_;
  std::size_t n_tokens_used_ = 0;
  std::int64_t budget_us_;
  std::int64_t start_us_ = 0;  ///< of the warm-up,
  std::int64_t begin_us_ = 0;  ///< and of the budget.
  std::int64_t now_us_ = 0;    ///< when the newest event ended.
  Phase phase_ = Phase::kFirst;
  Model target_;
  Model draft_;
  std::deque<Step> plan_;  ///< steps of one model alone that are still to do.
  int n_rounds_ = 0;
  std::size_t n_overlapped_ = 0;  ///< steps of each model that are wanted while both run.
  std::int64_t overlap_until_us_ = 0;
  std::exception_ptr error_;

  bool has_draft_ = false;
  bool target_copies_ = false;  ///< its sequences cannot be cut.
  bool draft_copies_ = false;
  Pos target_held_ = 0;          ///< cells of the target; beyond its text: what was not chosen.
  Token last_ = 0;               ///< the newest token of the target's text.
  std::vector<Pos> seq_held_;    ///< cells of each of the draft's sequences.
  std::vector<Pos> seq_shared_;  ///< of which so many equal those of sequence 0.
};

}  // namespace specbranch
