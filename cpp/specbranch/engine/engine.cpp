#include "specbranch/engine/engine.h"

#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/engine/coordinator.h"
#include "specbranch/engine/run_cost_measurement.h"

namespace specbranch {

// Generation ----------------------------------------------------------------------------------

struct Generation::State {
  std::shared_ptr<OutputChannel> output;
  std::shared_ptr<const Progress> progress;
  std::shared_ptr<Inbox> inbox;
  GenerationId generation_id = 0;
  long owner_pid = 0;
  std::atomic<bool> finished{false};
};

Generation::Generation(std::shared_ptr<State> state) : state_(std::move(state)) {}

Generation::~Generation() {
  if (getpid() != state_->owner_pid) {
    // In a forked child the channels' locks may be held by threads that do not exist here.
    new std::shared_ptr<State>(std::move(state_));  // NOLINT: leaked on purpose
    return;
  }
  if (!state_->finished.load()) cancel();
}

std::optional<Output> Generation::next_for(std::chrono::milliseconds timeout) {
  if (getpid() != state_->owner_pid) {
    throw EngineClosed("[Generation::next] this process is a fork of the one that made the engine");
  }
  if (state_->finished.load()) return std::nullopt;
  std::optional<Output> output = state_->output->receive_for(timeout);
  if (output && std::holds_alternative<GenerationEnd>(*output)) state_->finished.store(true);
  return output;
}

void Generation::answer(PolicyReply answer) {
  if (getpid() != state_->owner_pid) return;
  Event event;
  event.generation_id = state_->generation_id;
  event.body = std::move(answer);
  state_->inbox->post(std::move(event));
}

bool Generation::finished() const { return state_->finished.load(); }

const Progress& Generation::progress() const { return *state_->progress; }

void Generation::cancel() {
  if (getpid() != state_->owner_pid) return;
  state_->inbox->post(CancelMessage{state_->generation_id});
}

// EngineImpl ----------------------------------------------------------------------------------

class EngineImpl {
 public:
  explicit EngineImpl(EngineParts parts);

  ModelLimits limits;  ///< as the models were made.
  std::string why_no_speculation;
  std::shared_ptr<Inbox> inbox = std::make_shared<Inbox>();
  std::atomic<GenerationId> next_generation_id{1};
  std::atomic<bool> closed{false};
  std::mutex close_mutex;  ///< one thread ends the workers; others that close wait for it.
  std::unique_ptr<Coordinator> coordinator;
};

EngineImpl::EngineImpl(EngineParts parts)
    : why_no_speculation(std::move(parts.why_no_speculation)) {
  const auto ready = std::make_shared<Channel<WorkerReady>>();
  const auto on_ready = [ready](WorkerReady report) { ready->send(std::move(report)); };
  const auto on_event = [box = inbox](Event event) { box->post_and_serve(std::move(event)); };
  auto target = std::make_unique<Worker<TargetModel>>(ModelRole::kTarget, std::move(parts.target),
                                                      on_ready, on_event);
  std::unique_ptr<Worker<DraftModel>> draft;
  if (parts.draft) {
    draft = std::make_unique<Worker<DraftModel>>(ModelRole::kDraft, std::move(parts.draft),
                                                 on_ready, on_event);
  }
  std::exception_ptr error;
  for (int n = draft ? 2 : 1; n > 0; --n) {
    const std::optional<WorkerReady> report = ready->receive();
    if (!report) throw FatalError("[Engine] a worker ended without a word");
    // If both fail, the target's failure is told.
    const bool of_target = report->role == ModelRole::kTarget;
    if (report->error && (!error || of_target)) error = report->error;
    if (of_target) {
      limits.target = report->capabilities;
    } else {
      limits.draft = report->capabilities;
    }
  }
  if (error) std::rethrow_exception(error);
  if (draft && !limits.target.can_roll_back() && why_no_speculation.empty()) {
    why_no_speculation =
        "the target is a recurrent or hybrid model that cannot take tokens back: its mode is "
        "autoregressive";
  }
  MeasuredCosts measurement;
  const bool can_speculate = draft && why_no_speculation.empty();
  if (can_speculate && parts.measure_costs_us > 0 && !parts.profile.costs.known()) {
    CostMeasurement measuring(limits, dummy_tokens(parts.pieces, limits), parts.measure_costs_us);
    const auto events = std::make_shared<Channel<Event>>();
    inbox->attach([events](Message& message) {
      return events->send(std::get<Event>(std::move(message)));  // nobody else knows the inbox yet
    });
    measurement = run_cost_measurement(measuring, *events, *target, *draft, parts.measure_costs_us,
                                       parts.stop_measuring);
    parts.profile.costs = std::move(measurement.costs);
  }
  coordinator =
      std::make_unique<Coordinator>(limits, std::move(parts.pieces), std::move(target),
                                    std::move(draft), std::move(parts.profile), measurement.ms);
  inbox->attach([this](Message& message) { return coordinator->handle(message); });
}

// Engine --------------------------------------------------------------------------------------

Engine::Engine(EngineParts parts)
    : impl_(std::make_unique<EngineImpl>(std::move(parts))), owner_pid_(getpid()) {}

Engine::~Engine() {
  if (getpid() != owner_pid_) {
    // Its threads do not exist in this process.
    static_cast<void>(impl_.release());  // NOLINT(bugprone-unused-return-value)
    return;
  }
  close();
}

void Engine::check_alive(const char* method) const {
  if (getpid() != owner_pid_) {
    throw EngineClosed(std::string("[Engine::") + method +
                       "] this process is a fork of the one that made the engine; make a new one");
  }
  if (impl_->closed.load()) {
    throw EngineClosed(std::string("[Engine::") + method + "] the engine is closed");
  }
}

std::unique_ptr<Generation> Engine::generate(Request request) {
  check_alive("generate");
  impl_->coordinator->throw_if_poisoned();
  validate(request, impl_->limits.target.n_vocab, impl_->limits.target.n_adapters);
  if (request.n_feature_layers > impl_->limits.target.n_feature_layers) {
    const int most = impl_->limits.target.n_feature_layers;
    throw InvalidArgument("n_feature_layers is " + std::to_string(request.n_feature_layers) + "; " +
                          (most > 0
                               ? "this target can give at most " + std::to_string(most)
                               : "this target's architecture gives no features: it must be 0"));
  }
  if (request.mode != Mode::kAutoregressive) {
    if (!impl_->limits.draft) {
      throw InvalidArgument("mode '" + std::string(to_string(request.mode)) +
                            "' needs a draft model; this engine was made without one");
    }
    if (!impl_->why_no_speculation.empty()) throw InvalidArgument(impl_->why_no_speculation);
  }
  const auto n_prompt = static_cast<std::int64_t>(request.prompt.size());
  if (n_prompt >= impl_->limits.target.n_ctx) {
    throw ContextOverflow("the prompt has " + std::to_string(n_prompt) +
                          " tokens; the context of " + std::to_string(impl_->limits.target.n_ctx) +
                          " leaves no room for one more");
  }
  auto state = std::make_shared<Generation::State>();
  state->output = std::make_shared<OutputChannel>();
  request.progress = std::make_shared<Progress>();
  state->progress = request.progress;
  state->inbox = impl_->inbox;
  state->generation_id = impl_->next_generation_id.fetch_add(1);
  state->owner_pid = owner_pid_;
  SubmitMessage submit{state->generation_id, std::make_shared<const Request>(std::move(request)),
                       state->output};
  if (!impl_->inbox->post(std::move(submit))) {
    throw EngineClosed("[Engine::generate] the engine is closed");
  }
  return std::unique_ptr<Generation>(new Generation(std::move(state)));
}

void Engine::close() {
  if (getpid() != owner_pid_) return;
  const std::lock_guard lock(impl_->close_mutex);
  impl_->closed.store(true);
  impl_->inbox->post(CloseMessage{});
  impl_->inbox->join();
  impl_->coordinator->release_workers();
}

bool Engine::closed() const { return getpid() != owner_pid_ || impl_->closed.load(); }

ModelLimits Engine::limits() const {
  if (getpid() != owner_pid_) return impl_->limits;  // as for `stats`
  return impl_->coordinator->limits();
}

EngineStats Engine::stats() const {
  if (getpid() != owner_pid_) return {};  // the lock may be held by a thread that is not here
  return impl_->coordinator->stats();
}

PairProfile Engine::profile() const {
  if (getpid() != owner_pid_) return {};
  return impl_->coordinator->profile();
}

}  // namespace specbranch
