/// The engine: a queue of generations over a pair of models that run at the same time.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "specbranch/decoder/decoder.h"
#include "specbranch/model/model.h"
#include "specbranch/model/options.h"
#include "specbranch/report/profile.h"
#include "specbranch/report/progress.h"
#include "specbranch/report/stats.h"
#include "specbranch/report/trace.h"

namespace specbranch {

/// One committed token as the caller sees it.
struct Chunk {
  Choice choice;
  std::string bytes;  ///< text that is certain now; may be empty while a stop string may begin.
  Origin origin = Origin::kTarget;
};

/// How a generation ended; the last output of each.
struct GenerationEnd {
  Finish finish = Finish::kNone;
  std::string tail;  ///< text that was held back for a stop string that did not come.
  std::string stop;  ///< the stop string that ended the text; empty: none did.
  Stats stats;
  Trace trace;                     ///< empty unless the request asked for it.
  std::exception_ptr error;        ///< set if `finish` is kFailed.
  std::exception_ptr draft_error;  ///< what made the draft fail; the text did not need it.
};

/// A request to the caller's policy (`PolicyOptions::Kind::kHook`): call `Generation::answer` soon.
struct PolicyRequest {
  std::shared_ptr<const PolicyRound> round;
};

using Output = std::variant<Chunk, GenerationEnd, PolicyRequest>;

class EngineImpl;

/// A running or queued generation. The work goes on whether or not it is read.
///
/// *Thread safety:* every method from any thread; two readers share the chunks between them.
/// *Lifecycle:* the destructor cancels what is not finished and does not wait for it.
class Generation {
 public:
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  /// The next chunk, or the end, or nothing within `timeout`. After the end was returned, nothing
  /// comes any more, at once (see `finished`). A PolicyRequest comes only while somebody waits
  /// here, before the chunks of the round that led to it.
  std::optional<Output> next_for(std::chrono::milliseconds timeout);

  /// The answer to a PolicyRequest: a plan, or why there is none, which ends the generation with
  /// that error (an `Error`; the engine stays usable). Nobody else works on the generation until
  /// then, but cancelling it needs no answer. Never waits for a forward pass.
  void answer(PolicyReply answer);

  /// The end was returned by `next_for`.
  bool finished() const;

  /// What can be seen of it while it runs: the round of a chunk is there before the chunk.
  const Progress& progress() const;

  /// Ends the work within one forward pass; the end still arrives. Never waits for that pass.
  void cancel();

 private:
  friend class Engine;
  struct State;
  explicit Generation(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

/// What an engine is made of.
struct EngineParts {
  ModelFactory<TargetModel> target;
  ModelFactory<DraftModel> draft;   ///< empty: only modes that need none.
  std::vector<std::string> pieces;  ///< bytes of every token of the target's vocabulary.
  std::string why_no_speculation;  ///< not empty: speculation is impossible with these models, why.
  PairProfile profile;             ///< what is known of the pair already.
  /// Time that may be spent on measuring steps with dummy tokens (`PairProfile::costs`) while
  /// loading; 0: none. Not done without a draft, nor if the costs are known already.
  std::int64_t measure_costs_us = 0;
  std::function<bool()> stop_measuring;  ///< called every 50 ms; true ends the measurement.
  /// Drafts from the text: what the prompt and the committed text continue with where they repeat
  /// themselves. Off: no drafts from any text, the corpus and predictions included.
  bool lookup = true;
  /// Earlier answers of this engine propose tokens, too. Off: step times tell nothing of them.
  bool lookup_answers = true;
  /// Generations that run at once, at most; no more than the target has sequences, among which the
  /// draft's sequences are divided.
  int n_parallel = 1;
  /// Texts that answers will probably quote: further sources of drafts from the text.
  std::vector<std::vector<Token>> corpus;
};

/// What the measurement of step costs takes at most, unless told otherwise.
inline constexpr std::int64_t kMeasureCostsUs = 2'000'000;

/// Totals over the generations that ended so far, those that never began among them.
struct EngineStats {
  std::int64_t n_generations = 0;
  std::int64_t n_generated = 0;
  std::int64_t n_target_steps = 0;
  std::int64_t n_drafted = 0;
  std::int64_t n_accepted = 0;
  std::int64_t n_rolled_back = 0;
  double decode_ms = 0.0;
  double measure_costs_ms = 0.0;  ///< measuring while loading; 0: there was none.
};

/// *Thread safety:* every method from any thread; generations begin in the order of the calls.
/// *Lifecycle:* the constructor makes both models (each on its own thread) and throws what they
/// throw; `close` cancels all generations, waits for the threads and is final. In a forked child
/// `generate` throws EngineClosed, `stats` and `profile` are empty, and the destructor leaves the
/// (absent) threads alone.
class Engine {
 public:
  explicit Engine(EngineParts parts);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Validates and enqueues. Throws InvalidArgument, ContextOverflow, EngineClosed, FatalError.
  std::unique_ptr<Generation> generate(Request request);

  void close();
  bool closed() const;

  /// The limits of the models. There is no draft in them any more once a generation has lost it.
  ModelLimits limits() const;
  EngineStats stats() const;

  /// What is known of the pair after the last generation that ended.
  PairProfile profile() const;

 private:
  void check_alive(const char* method) const;
  std::unique_ptr<EngineImpl> impl_;
  long owner_pid_;
};

}  // namespace specbranch
