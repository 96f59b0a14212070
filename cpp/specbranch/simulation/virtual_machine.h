/// Two models under a virtual clock: commands take given times, and slow each other down.
#pragma once

#include <cstdint>
#include <optional>
#include <random>

#include "specbranch/model/messages.h"
#include "specbranch/model/model.h"
#include "specbranch/simulation/virtual_run.h"

namespace specbranch {

/// One command of each model at most is under way. The models really carry them out, when they are
/// finished.
///
/// *Thread safety:* none.
class VirtualMachine {
 public:
  /// All outlive this. `draft` null: no draft.
  VirtualMachine(TargetModel& target, DraftModel* draft, const VirtualOptions& options)
      : target_(target), draft_(draft), options_(options), coin_(options.shuffle_seed) {}

  std::int64_t now_us() const { return now_us_; }
  bool busy(ModelRole role) const { return pending_[index(role)].has_value(); }
  bool busy() const { return busy(ModelRole::kTarget) || busy(ModelRole::kDraft); }

  /// A coin of the seed of the order of delivery.
  bool coin() { return (coin_() & 1U) != 0; }

  /// When the next command ends. Before: one is under way.
  std::int64_t next_end_us() const;

  /// The model whose command is delivered next. Before: one is under way.
  ModelRole pick();

  /// Ends the command of `role`: the clock goes on to its end. Returns the answer.
  Event complete(ModelRole role);

  /// The clock goes on to `us`, if it has not got there yet.
  void advance_to(std::int64_t us);

  /// A command for the idle model of `role`.
  void send(ModelRole role, Command command);

  /// Ends the command of `role` early, if there is one.
  void abort(ModelRole role);

 private:
  /// A command on its way through a model.
  struct Pending {
    Command command;
    std::int64_t begin_us = 0;
    std::int64_t end_us = 0;
    std::int64_t ops_us = 0;
    bool abort = false;
  };

  static std::size_t index(ModelRole role) { return role == ModelRole::kTarget ? 0 : 1; }
  template <class M>
  Event perform(M& model, const Pending& pending);
  void stretch(ModelRole role, bool shared);
  double slowdown_of(ModelRole role) const;
  std::int64_t rebuild_us(const Command& command);

  TargetModel& target_;
  DraftModel* draft_;
  const VirtualOptions& options_;
  std::mt19937_64 coin_;
  std::optional<Pending> pending_[2];
  std::int64_t now_us_ = 0;
  int n_verified_ = 0;  ///< tokens of the last verification; 0: there was none.
};

}  // namespace specbranch
