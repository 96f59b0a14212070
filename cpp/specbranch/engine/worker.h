/// A worker owns one model, on a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "specbranch/base/channel.h"
#include "specbranch/model/messages.h"
#include "specbranch/model/model.h"

namespace specbranch {

/// Runs one command on a model and turns what happens into an event. Errors become data.
/// Used by the threads and, without threads, by the virtual clock and the tests.
Event execute(TargetModel& model, const Command& command);
Event execute(DraftModel& model, const Command& command);

/// The first report of a worker: the capabilities of its model, or the error.
struct WorkerReady {
  ModelRole role = ModelRole::kTarget;
  Capabilities capabilities;
  std::exception_ptr error;
};

/// *Thread safety:* `send`, `request_abort`, `clear_abort` by one thread at a time, which may be
/// the worker's own (from `on_event`).
///
/// *Lifecycle:* the constructor starts the thread, which makes the model and reports `WorkerReady`;
/// the destructor lets a running command be aborted, closes the inbox and joins.
template <class M>
class Worker {
 public:
  using OnReady = std::function<void(WorkerReady)>;
  using OnEvent = std::function<void(Event)>;

  Worker(ModelRole role, ModelFactory<M> factory, OnReady on_ready, OnEvent on_event);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void send(Command command) { inbox_.send(std::move(command)); }

  /// Requests an abort of the running command. Only between `send` and its event.
  void request_abort();
  /// Only while no command is under way.
  void clear_abort();

 private:
  void run();
  void publish(M* model);

  ModelRole role_;
  ModelFactory<M> factory_;
  OnReady on_ready_;
  OnEvent on_event_;
  Channel<Command> inbox_;
  std::mutex model_mutex_;  ///< the model dies on its thread; nobody may call it then.
  M* model_ = nullptr;      ///< set while the thread has a model.
  std::jthread thread_;
};

extern template class Worker<TargetModel>;
extern template class Worker<DraftModel>;

}  // namespace specbranch
