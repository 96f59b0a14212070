#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <optional>

#include "specbranch/engine/engine.h"

namespace specbranch::bindings {

/// A generation that remembers the last output that it gave out, so that a reader whom a signal
/// interrupted can ask for the same again. Python keeps the outputs before that one.
///
/// *Thread safety:* `get` by one thread at a time (and by signal handlers while it waits).
/// *Lifecycle:* as Generation: the destructor cancels.
class PyGeneration {
 public:
  explicit PyGeneration(std::unique_ptr<Generation> generation);

  /// The output of that index, which is at most the number of those given out; the last one is a
  /// GenerationEnd. For an older output, the last one that was given out: a handler of a signal has
  /// read on. Or a PolicyRequest, which is no output: it comes again until it is answered.
  /// Waits without the GIL, in slices, so that Ctrl-C is seen; whatever a signal handler raises
  /// cancels the generation. Throws what made it fail, every time.
  Output get(std::size_t index);

  /// Answers the policy request that `get` gave out.
  void answer(const Plan& plan);

  /// As above: there is no plan, the generation is to end.
  void refuse();

  /// As above: there is no plan, the built-in rule decides. Without a request: nothing.
  void skip();

  /// As the answers, without the GIL: the caller's thread may carry out what follows (see Strand).
  void cancel();

  const Progress& progress() const { return generation_->progress(); }

 private:
  /// Waits for the output of that index, or for a policy request.
  void wait(std::size_t index);
  void answer(PolicyReply done);

  std::unique_ptr<Generation> generation_;
  std::size_t n_outputs_ = 0;                    ///< given out so far.
  std::optional<Output> last_;                   ///< the last of them.
  std::optional<PolicyRequest> policy_request_;  ///< not answered yet.
};

/// `Generation`, and what it yields: `Token` after `Token`, then one `Outcome`.
void register_generation(pybind11::module_& m);

}  // namespace specbranch::bindings
