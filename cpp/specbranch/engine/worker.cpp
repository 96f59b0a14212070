#include "specbranch/engine/worker.h"

#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "specbranch/base/clock.h"
#include "specbranch/base/errors.h"

namespace specbranch {
namespace {

using Body = decltype(Event::body);

void run(Model& model, std::span<const KvOp> ops) {
  for (const KvOp& op : ops) {
    if (const auto* fork = std::get_if<Fork>(&op)) {
      model.fork(*fork);
    } else {
      model.truncate(std::get<Truncate>(op));
    }
  }
}

Body run(TargetModel& model, const VerifyCommand& command, Event& event) {
  run(model, command.ops);
  event.ops_us = now_us() - event.begin_us;
  VerifyDone done{model.verify(command.segments, command.n_pad)};
  for (const SegmentResult& result : done.results) event.waited_us += result.waited_us;
  return done;
}

Body run(TargetModel& /*model*/, const DraftCommand& /*command*/, Event& /*event*/) {
  throw PreconditionError("[execute] a draft command for the target");
}

Body run(DraftModel& model, const DraftCommand& command, Event& event) {
  run(model, command.ops);
  event.ops_us = now_us() - event.begin_us;
  const std::span<const RankOptions> ranks =
      command.ranks.empty() ? std::span(&command.rank, 1) : std::span(command.ranks);
  return DraftDone{model.draft(command.inputs, ranks)};
}

Body run(DraftModel& /*model*/, const VerifyCommand& /*command*/, Event& /*event*/) {
  throw PreconditionError("[execute] a verify command for the draft");
}

ForcedRun forced_of(DraftModel& /*model*/, GenerationId /*id*/) { return {}; }
ForcedRun forced_of(TargetModel& model, GenerationId id) { return model.forced(id); }

template <class M>
Body run(M& model, const OpenCommand& command, Event& event) {
  OpenDone done;
  done.n_reused = model.open(event.generation_id, command.request, command.seqs);
  done.lengths.reserve(command.seqs.size());
  for (const SeqId seq : command.seqs) done.lengths.push_back(model.length(seq));
  done.forced = forced_of(model, event.generation_id);
  return done;
}

Body run(DraftModel& model, const PrefillCommand& command, Event& event) {
  model.prefill(event.generation_id, command.begin, command.end);
  return PrefillDone{command.end};
}

Body run(TargetModel& model, const PrefillCommand& command, Event& event) {
  model.prefill(event.generation_id, command.begin, command.end);
  return PrefillDone{command.end, model.take_prompt_scores(event.generation_id),
                     model.take_shared(event.generation_id)};
}

Body run(Model& model, const CloseCommand& command, Event& event) {
  model.close(event.generation_id, command.forget);
  return CloseDone{};
}

/// Runs `work`; an exception that is not ours leaves the model in an unknown state.
template <class Work>
Body guarded(ModelRole role, Work work) {
  const char* name = role == ModelRole::kTarget ? "target" : "draft";
  try {
    return work();
  } catch (const Aborted&) {
    return AbortDone{};
  } catch (const Error&) {
    return FailDone{std::current_exception()};
  } catch (const std::exception& error) {
    return FailDone{std::make_exception_ptr(
        FatalError(std::string("the ") + name + " failed unexpectedly: " + error.what()))};
  } catch (...) {
    return FailDone{std::make_exception_ptr(
        FatalError(std::string("the ") + name + " failed with an unknown exception"))};
  }
}

template <class M>
Event execute_on(ModelRole role, M& model, const Command& command) {
  Event event;
  event.role = role;
  event.generation_id = command.generation_id;
  event.begin_us = now_us();
  event.body = guarded(role, [&] {
    return std::visit([&](const auto& body) { return run(model, body, event); }, command.body);
  });
  event.end_us = now_us() - event.waited_us;
  return event;
}

}  // namespace

Event execute(TargetModel& model, const Command& command) {
  return execute_on(ModelRole::kTarget, model, command);
}

Event execute(DraftModel& model, const Command& command) {
  return execute_on(ModelRole::kDraft, model, command);
}

template <class M>
Worker<M>::Worker(ModelRole role, ModelFactory<M> factory, OnReady on_ready, OnEvent on_event)
    : role_(role),
      factory_(std::move(factory)),
      on_ready_(std::move(on_ready)),
      on_event_(std::move(on_event)),
      thread_([this] { run(); }) {}

template <class M>
Worker<M>::~Worker() {
  request_abort();
  inbox_.close();
  thread_.join();
}

template <class M>
void Worker<M>::request_abort() {
  const std::lock_guard lock(model_mutex_);
  if (model_ != nullptr) model_->request_abort();
}

template <class M>
void Worker<M>::clear_abort() {
  const std::lock_guard lock(model_mutex_);
  if (model_ != nullptr) model_->clear_abort();
}

template <class M>
void Worker<M>::run() {
  std::unique_ptr<M> model;
  WorkerReady ready;
  ready.role = role_;
  const Body made = guarded(role_, [&]() -> Body {
    model = factory_();
    if (!model) throw FatalError("[Worker::run] the factory gave no model");
    ready.capabilities = model->capabilities();
    return CloseDone{};
  });
  factory_ = nullptr;  // what it holds lives no longer than it is needed
  if (const auto* fail = std::get_if<FailDone>(&made)) ready.error = fail->error;
  publish(ready.error ? nullptr : model.get());
  on_ready_(ready);
  if (ready.error) return;
  while (const std::optional<Command> command = inbox_.receive()) {
    on_event_(execute(*model, *command));
  }
  publish(nullptr);
}

template <class M>
void Worker<M>::publish(M* model) {
  const std::lock_guard lock(model_mutex_);
  model_ = model;
}

template class Worker<TargetModel>;
template class Worker<DraftModel>;

}  // namespace specbranch
