#include "specbranch/engine/engine.h"

#include <atomic>
#include <mutex>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/base/process.h"
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
  if (process_id() != state_->owner_pid) {
    // In a forked child the channels' locks may be held by threads that do not exist here.
    new std::shared_ptr<State>(std::move(state_));  // NOLINT: leaked on purpose
    return;
  }
  if (!state_->finished.load()) cancel();
}

std::optional<Output> Generation::next_for(std::chrono::milliseconds timeout) {
  if (process_id() != state_->owner_pid) {
    throw EngineClosed("[Generation::next] this process is a fork of the one that made the engine");
  }
  if (state_->finished.load()) return std::nullopt;
  std::optional<Output> output = state_->output->receive_for(timeout);
  if (output && std::holds_alternative<GenerationEnd>(*output)) state_->finished.store(true);
  return output;
}

void Generation::answer(PolicyReply answer) {
  if (process_id() != state_->owner_pid) return;
  Event event;
  event.generation_id = state_->generation_id;
  event.body = std::move(answer);
  state_->inbox->post(std::move(event));
}

bool Generation::finished() const { return state_->finished.load(); }

const Progress& Generation::progress() const { return *state_->progress; }

void Generation::cancel() {
  if (process_id() != state_->owner_pid) return;
  state_->inbox->post(CancelMessage{state_->generation_id});
}

// EngineImpl ----------------------------------------------------------------------------------

namespace {

void check_corpus(const std::vector<std::vector<Token>>& corpus, int n_vocab) {
  for (std::size_t i = 0; i < corpus.size(); ++i) {
    check_tokens(corpus[i], "corpus text " + std::to_string(i), n_vocab);
  }
}

}  // namespace

class EngineImpl {
 public:
  explicit EngineImpl(EngineParts parts);

  /// Throws InvalidArgument for a mode that is not possible with these models.
  void check_mode(Mode mode) const;
  /// What the request may draft from. On the caller's thread: a long prompt takes milliseconds.
  LookupTexts texts_of(const Request& request) const;

  ModelLimits limits;  ///< as the models were made.
  std::string why_no_speculation;
  std::shared_ptr<LookupStore> lookup;  ///< null: nothing is drafted from texts.
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
  if (!limits.target.can_roll_back() && why_no_speculation.empty()) {
    why_no_speculation =
        "the target is a recurrent or hybrid model that cannot take tokens back: its mode is "
        "autoregressive";
  }
  check_corpus(parts.corpus, limits.target.n_vocab);
  if (parts.lookup && why_no_speculation.empty()) {
    lookup = std::make_shared<LookupStore>(parts.corpus, parts.lookup_answers);
  }
  MeasuredCosts measurement;
  const bool can_speculate = why_no_speculation.empty() && (draft || lookup);
  const StepCosts& costs = parts.profile.costs;
  const bool known = draft ? costs.known() : costs.target_known();
  if (can_speculate && parts.measure_costs_us > 0 && !known) {
    CostMeasurement measuring(limits, dummy_tokens(parts.pieces, limits), parts.measure_costs_us);
    const auto events = std::make_shared<Channel<Event>>();
    inbox->attach([events](Message& message) {
      return events->send(std::get<Event>(std::move(message)));  // nobody else knows the inbox yet
    });
    measurement =
        run_cost_measurement(measuring, *events, *target, draft.get(), parts.stop_measuring);
    parts.profile.costs = std::move(measurement.costs);
  }
  coordinator = std::make_unique<Coordinator>(limits, std::move(parts.pieces), std::move(target),
                                              std::move(draft), std::move(parts.profile),
                                              measurement.ms, lookup, parts.n_parallel);
  inbox->attach([this](Message& message) { return coordinator->handle(message); });
}

void EngineImpl::check_mode(Mode mode) const {
  if (mode == Mode::kAutoregressive) return;
  // Without a draft model `auto` decides by itself whether it can speculate.
  if (!limits.draft && mode == Mode::kAuto) return;
  const bool chain_of_text = !limits.draft && mode == Mode::kSpeculative;
  if ((limits.draft || chain_of_text) && !why_no_speculation.empty()) {
    throw InvalidArgument(why_no_speculation);
  }
  if (limits.draft || (chain_of_text && lookup)) return;
  throw InvalidArgument("mode '" + std::string(to_string(mode)) +
                        "' needs a draft model; this engine was made without one");
}

LookupTexts EngineImpl::texts_of(const Request& request) const {
  const bool drafts = takes_proposals(request.mode, coordinator->limits().draft.has_value());
  if (!lookup || !request.lookup || !drafts) return {};
  return lookup->texts_of(request);
}

// Engine --------------------------------------------------------------------------------------

Engine::Engine(EngineParts parts)
    : impl_(std::make_unique<EngineImpl>(std::move(parts))), owner_pid_(process_id()) {}

Engine::~Engine() {
  if (process_id() != owner_pid_) {
    // Its threads do not exist in this process.
    static_cast<void>(impl_.release());  // NOLINT(bugprone-unused-return-value)
    return;
  }
  close();
}

void Engine::check_alive(const char* method) const {
  if (process_id() != owner_pid_) {
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
  impl_->check_mode(request.mode);
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
  const auto shared = std::make_shared<const Request>(std::move(request));
  SubmitMessage submit{state->generation_id, shared, state->output, impl_->texts_of(*shared)};
  if (!impl_->inbox->post(std::move(submit))) {
    throw EngineClosed("[Engine::generate] the engine is closed");
  }
  return std::unique_ptr<Generation>(new Generation(std::move(state)));
}

void Engine::close() {
  if (process_id() != owner_pid_) return;
  const std::lock_guard lock(impl_->close_mutex);
  impl_->closed.store(true);
  impl_->inbox->post(CloseMessage{});
  impl_->inbox->join();
  impl_->coordinator->release_workers();
}

bool Engine::closed() const { return process_id() != owner_pid_ || impl_->closed.load(); }

ModelLimits Engine::limits() const {
  if (process_id() != owner_pid_) return impl_->limits;  // as for `stats`
  return impl_->coordinator->limits();
}

EngineStats Engine::stats() const {
  if (process_id() != owner_pid_) return {};  // the lock may be held by a thread that is not here
  return impl_->coordinator->stats();
}

PairProfile Engine::profile() const {
  if (process_id() != owner_pid_) return {};
  return impl_->coordinator->profile();
}

}  // namespace specbranch
