/// What the tests of the core share: seeded scenarios, reference decoders, common checks.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "specbranch/model/options.h"
#include "specbranch/planner/planner.h"
#include "specbranch/report/profile.h"
#include "specbranch/simulation/fake_model.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "specbranch/simulation/virtual_run.h"

namespace specbranch::test {

/// SplitMix64: the same numbers with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next();
  double uniform();                ///< in [0, 1).
  int between(int low, int high);  ///< both ends included.
  bool chance(double p) { return uniform() < p; }

  template <class T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[between(0, static_cast<int>(values.size()) - 1)];
  }

 private:
  std::uint64_t state_;
};

/// `n` repetitions, times the environment's SPECBRANCH_TEST_SCALE (1 if unset), at least one.
int scaled(int n);

/// Which settings of a sweep are tried: of all of them as large a part as SPECBRANCH_TEST_SCALE
/// says, spread evenly, and the first one.
class Sweep {
 public:
  Sweep();

  bool skips();  ///< asked once for each setting.
  bool is_whole() const { return share_ >= 1.0; }

 private:
  double share_;
  double due_ = 1.0;
};

inline constexpr Mode kAllModes[] = {Mode::kAutoregressive, Mode::kSpeculative, Mode::kPearl,
                                     Mode::kSpecBranch, Mode::kAuto};
inline constexpr Mode kDraftingModes[] = {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch,
                                          Mode::kAuto};
inline constexpr Mode kLockStepModes[] = {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch};

/// `auto` with what it may know of the pair: step times where all pays, and it may not switch.
std::unique_ptr<Planner> make_eager_auto(const Request& request, PairProfile* profile);

/// Step times as `run_virtually` has them unless told: 1,000 a target and 100 a draft step.
PairProfile flat_profile();

/// A request with the two fakes that are to answer it.
struct Scenario {
  std::uint64_t seed = 0;
  Request request;
  FakeOptions target;
  FakeOptions draft;
};

/// Draws every dimension of a scenario from `seed`: sampling, limits, sequences, vocabularies,
/// ends.
Scenario make_scenario(std::uint64_t seed);

/// As above, with a draft that equals the target and can follow it everywhere.
Scenario make_perfect_scenario(std::uint64_t seed);

/// The one segment of a verification.
const Segment& segment_of(const VerifyCommand& verify);

/// The tokens of its rows.
std::vector<Token> path_of(const VerifyCommand& verify);

/// Everything needed to repeat a scenario by hand.
std::string describe(const Scenario& scenario);

/// One run in a mode with fresh models.
VirtualResult run(const Scenario& scenario, Mode mode, const VirtualOptions& options = {},
                  std::unique_ptr<Planner> planner = nullptr);

/// A synthetic pair for requests whose prompt has three tokens.
SyntheticOptions synthetic_pair(double alpha, std::uint64_t seed = 1);

/// A request in `auto` with such a prompt. The limits default to those of a request.
Request auto_request(int n_tokens, int max_draft = Request{}.max_draft,
                     int max_branches = Request{}.max_branches);

/// Messages in an order drawn from `seed`, aborts in time and too late.
VirtualOptions shuffled(std::uint64_t seed);

/// The text that a request must give.
struct Expected {
  std::vector<Token> tokens;
  Finish finish = Finish::kNone;
};

/// Decodes token by token, straight from the fake's scores: no engine code but the noise.
/// With end tokens, whose rule only the fake knows: the engine's autoregressive mode.
Expected reference(const Scenario& scenario);

/// `text` is how `whole` begins.
bool is_prefix(const std::vector<Token>& text, const std::vector<Token>& whole);

/// The message of `error`; empty if there is none.
std::string message_of(const std::exception_ptr& error);

template <class E>
bool holds(const std::exception_ptr& error) {
  if (!error) return false;
  try {
    std::rethrow_exception(error);
  } catch (const E&) {
    return true;
  } catch (...) {
    return false;
  }
}

/// Identities that hold for every generation, whatever its end.
void check_counters(const Counters& counters, Mode mode, Finish finish);

/// `check_counters`, and that the counters agree with the result's own tokens and times.
void check_result(const VirtualResult& result, Mode mode);

/// Four runs on the same models, each with a planner of its own, and all but the last cancelled
/// somewhere: nothing that a cancel leaves behind changes the text of a later run.
void check_cancels(const Scenario& scenario, Mode mode,
                   const std::function<std::unique_ptr<Planner>(std::uint64_t run)>& planner);

}  // namespace specbranch::test
