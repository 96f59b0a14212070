/// Times the steps of both models, and their overlap.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/planner/planner.h"

namespace specbranch {

/// Makes a `StepTime` of every step that ends. Times come from outside, microseconds; a model does
/// one step at a time.
class StepTimer {
 public:
  /// A command is under way.
  bool busy(ModelRole role) const { return models_[index(role)].busy; }

  /// A command goes to the idle model of `role`; it will decode `n_tokens`. See StepTime for
  /// `n_extra`.
  void issued(ModelRole role, int n_tokens, std::int64_t now_us, int n_extra = 0) {
    Model& own = models_[index(role)];
    own.busy = true;
    own.n_tokens = n_tokens;
    own.n_extra = n_extra;
    own.issued_us = std::max(now_us, own.end_us);
  }

  /// The command was carried out, failed or was cut short, between these times.
  StepTime ended(ModelRole role, std::int64_t begin_us, std::int64_t end_us) {
    Model& own = models_[index(role)];
    Model& other = models_[1 - index(role)];
    std::int64_t overlap = 0;
    for (const auto& [begin, end] : std::exchange(own.beside, {})) {
      overlap += shared(begin_us, end_us, begin, end);
    }
    if (other.busy) {
      // When that step began is not known before it ends; it was no earlier than its command.
      overlap += shared(begin_us, end_us, other.issued_us, end_us);
      other.beside.emplace_back(begin_us, end_us);
    }
    own.busy = false;
    own.end_us = end_us;
    StepTime step{role, own.n_tokens, own.n_extra, begin_us, end_us, 0.0};
    if (end_us > begin_us) {
      step.overlap =
          std::min(1.0, static_cast<double>(overlap) / static_cast<double>(end_us - begin_us));
    }
    return step;
  }

 private:
  struct Model {
    bool busy = false;
    int n_tokens = 0;
    int n_extra = 0;
    std::int64_t issued_us = 0;
    std::int64_t end_us = 0;  ///< of its last step.
    /// Steps of the other model that ended since this one's command was issued.
    std::vector<std::pair<std::int64_t, std::int64_t>> beside;
  };

  static std::size_t index(ModelRole role) { return role == ModelRole::kTarget ? 0 : 1; }
  static std::int64_t shared(std::int64_t begin, std::int64_t end, std::int64_t other_begin,
                             std::int64_t other_end) {
    return std::max<std::int64_t>(0, std::min(end, other_end) - std::max(begin, other_begin));
  }

  std::array<Model, 2> models_;
};

}  // namespace specbranch
