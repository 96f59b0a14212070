#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "specbranch/engine/engine.h"

namespace specbranch::bindings {

/// A generation that remembers what it gave out, so that a reader whom a signal interrupted can
/// ask for the same again.
///
/// *Thread safety:* `get` by one thread at a time (and by signal handlers while it waits).
/// *Lifecycle:* as Generation: the destructor cancels.
class PyGeneration {
 public:
  explicit PyGeneration(std::unique_ptr<Generation> generation);

  /// The output of that index, which is at most the number of those given out; the last one is an
  /// GenerationEnd. Or a PolicyRequest, which is no output: it comes again until it is answered.
  /// Waits without the GIL, in slices, so that Ctrl-C is seen; whatever a signal handler raises
  /// cancels the generation. Throws what made it fail, every time.
  Output get(std::size_t index);

  /// Answers the policy request that `get` gave out.
  void answer(const Plan& plan);

  /// As above: there is no plan, the generation is to end.
  void refuse();

  /// As the answers, without the GIL: the caller's thread may carry out what follows (see Strand).
  void cancel();

  const Progress& progress() const { return generation_->progress(); }

 private:
  void wait(std::size_t index);
  void answer(PolicyReply done);

  std::unique_ptr<Generation> generation_;
  std::vector<Output> outputs_;
  std::optional<PolicyRequest> policy_request_;  ///< not answered yet.
};

/// `Generation`, and what it yields: `Token` after `Token`, then one `Outcome`.
void register_generation(pybind11::module_& m);

}  // namespace specbranch::bindings
