/// Engines on fakes whose every step a test can watch, hold and break.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/base/channel.h"
#include "specbranch/engine/engine.h"
#include "support/support.h"

namespace specbranch::test {

/// Called on the model's thread before its step number `step`: chunks of prompts and passes count.
/// `aborted` tells whether the engine asked to cut the step short; the hook may throw.
using Hook = std::function<void(int step, const std::function<bool()>& aborted)>;

std::unique_ptr<TargetModel> make_hooked_target(const FakeOptions& options, Hook hook);
std::unique_ptr<DraftModel> make_hooked_draft(const FakeOptions& options, Hook hook);

/// The bytes of token i: "<i>".
std::vector<std::string> make_pieces(int n_vocab);

/// A scenario of every kind that an engine accepts.
Scenario make_valid_scenario(std::uint64_t seed);

/// A text of 30 tokens that nothing ends earlier, in `specbranch`, with room for 64.
Scenario make_long_scenario(std::uint64_t seed);

EngineParts make_parts(const Scenario& scenario, Hook target_hook = {}, Hook draft_hook = {});

/// The same for several texts at once.
EngineParts make_parallel_parts(const Scenario& models, int n_parallel, Hook target_hook = {},
                                Hook draft_hook = {});

/// Holds a model at one of its steps until the test lets it go or the engine aborts it.
class Barrier {
 public:
  explicit Barrier(int step) : step_(step) {}

  Hook hook();
  /// Fails the test instead of waiting for ever.
  void wait_until_reached();
  void release() { released_.store(true); }
  /// The engine aborted the held step.
  bool aborted() const { return aborted_.load(); }

 private:
  int step_;
  Channel<int> reached_;
  std::atomic<bool> released_{false};
  std::atomic<bool> aborted_{false};
};

/// All that a generation gave.
struct Collected {
  std::vector<Token> tokens;
  std::vector<bool> from_draft;
  std::vector<Choice> choices;
  std::string text;  ///< chunks and tail.
  GenerationEnd end;
};

/// Reads to the end; fails the test instead of waiting for ever.
Collected collect(Generation& generation);

/// The next output; fails the test instead of waiting for ever.
Output next(Generation& generation);

/// As `run` (see support.h) on an engine of its own.
Collected run_engine(const Scenario& scenario, Mode mode);

/// Reads all to their ends: each text is the expected one, or a part of it that a DecodeError has
/// ended. Returns how many failed.
int count_failed(const std::vector<std::unique_ptr<Generation>>& running, const Expected& expected);

/// Times add up and lie within each other.
void check_times(const Stats& stats);

}  // namespace specbranch::test
