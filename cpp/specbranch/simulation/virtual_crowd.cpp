#include "specbranch/simulation/virtual_crowd.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <numeric>
#include <optional>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/engine/batch_scheduler.h"
#include "specbranch/engine/model_pair.h"
#include "specbranch/engine/running_text.h"
#include "specbranch/simulation/virtual_machine.h"

namespace specbranch {
namespace {

/// A client's text while it runs.
class ClientText final : public RunningText {
 public:
  ClientText(std::size_t index, const Request& request, const BatchScheduler::Place& place,
             std::unique_ptr<Planner> planner, CommitSink sink, std::unique_ptr<Proposer> proposer)
      : index_(index),
        request_(std::make_shared<const Request>(request)),
        target_seq_(place.target_seq),
        decoder_(request_, place.limits, id(), std::move(planner), std::move(sink), target_seq_,
                 std::move(proposer)) {}

  std::size_t index() const { return index_; }
  Decoder& decoder() { return decoder_; }

  GenerationId id() const override { return static_cast<GenerationId>(index_) + 1; }
  const Request& request() const override { return *request_; }
  SeqId target_seq() const override { return target_seq_; }
  bool finished() const override { return decoder_.finish() != Finish::kNone; }
  const Offer* offer() const override { return decoder_.offer(); }
  Command take_offer(int n_drafted) override { return decoder_.take_offer(n_drafted); }

 private:
  std::size_t index_;
  std::shared_ptr<const Request> request_;
  SeqId target_seq_;
  Decoder decoder_;
};

class Crowd final : private ModelPair {
 public:
  Crowd(std::vector<VirtualClient> clients, TargetModel& target, DraftModel* draft,
        const VirtualOptions& options, int n_parallel)
      : target_(target),
        draft_(draft),
        options_(options),
        profile_(options.profile == nullptr ? &own_profile_ : options.profile),
        limits_(limits_of(target, draft)),
        machine_(target, draft, options),
        scheduler_(this, &limits_, profile_, n_parallel),
        clients_(std::move(clients)) {
    result_.texts.resize(clients_.size());
    arrivals_.resize(clients_.size());
    std::iota(arrivals_.begin(), arrivals_.end(), std::size_t{0});
    std::ranges::stable_sort(arrivals_, {},
                             [this](std::size_t i) { return clients_[i].arrival_us; });
  }

  VirtualCrowd run() {
    for (;;) {
      start_next();
      scheduler_.send_waiting();
      const bool busy = machine_.busy();
      if (!arrivals_.empty() && !scheduler_.full()) {
        const std::int64_t us = clients_[arrivals_.front()].arrival_us;
        const bool comes = us > machine_.now_us();  // else it waits for cells
        if (comes && (!busy || us <= machine_.next_end_us())) {
          machine_.advance_to(us);
          continue;
        }
      }
      if (!busy) break;
      deliver(machine_.pick());
    }
    if (!running_.empty()) {
      throw PreconditionError("[run_crowd] nothing is under way, yet there is no end");
    }
    result_.time_us = machine_.now_us();
    return std::move(result_);
  }

 private:
  static ModelLimits limits_of(const TargetModel& target, const DraftModel* draft) {
    ModelLimits limits;
    limits.target = target.capabilities();
    if (draft != nullptr) limits.draft = draft->capabilities();
    return limits;
  }

  void start_next() {
    while (!arrivals_.empty() && clients_[arrivals_.front()].arrival_us <= machine_.now_us() &&
           scheduler_.admits(clients_[arrivals_.front()].request)) {
      const std::size_t index = arrivals_.front();
      arrivals_.pop_front();
      start(index);
    }
  }

  void start(std::size_t index) {
    VirtualClient& client = clients_[index];
    VirtualText& text = result_.texts[index];
    text.start_us = machine_.now_us();
    const BatchScheduler::Place place = scheduler_.take_place(client.request);
    std::unique_ptr<Planner> planner = std::move(client.planner);
    if (!planner) planner = make_planner(client.request, profile_, draft_ != nullptr);
    const auto sink = [this, &text](const Committed& committed) {
      text.tokens.push_back(committed.choice.token);
      text.token_us.push_back(machine_.now_us());
      return false;
    };
    running_.push_back(std::make_unique<ClientText>(index, client.request, place,
                                                    std::move(planner), sink,
                                                    client.proposer ? client.proposer() : nullptr));
    ClientText& run = *running_.back();
    scheduler_.join(run);
    scheduler_.dispatch(run, run.decoder().start());
    finish_idle();
  }

  void deliver(ModelRole role) {
    Event event = machine_.complete(role);
    (role == ModelRole::kTarget ? result_.target_us : result_.draft_us) +=
        event.end_us - event.begin_us;
    if (options_.tamper_event) options_.tamper_event(event);
    for (const Event& own : scheduler_.answer(std::move(event))) bring(own);
    while (const std::optional<Event> dropped = scheduler_.next_dropped()) bring(*dropped);
    finish_idle();
  }

  void bring(const Event& event) {
    ClientText& run = **std::ranges::find(running_, event.generation_id, &ClientText::id);
    scheduler_.dispatch(run, run.decoder().on(event));
  }

  void send(ModelRole role, Command command) override {
    if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
      ++result_.n_batches;
      result_.n_batch_tokens += verify->n_tokens() - verify->n_pad;
    }
    machine_.send(role, std::move(command));
  }

  void request_abort(ModelRole role) override { machine_.abort(role); }
  std::int64_t now_us() const override { return machine_.now_us(); }

  void finish_idle() {
    for (std::size_t i = 0; i < running_.size();) {
      if (!running_[i]->decoder().idle()) {
        ++i;
        continue;
      }
      const std::unique_ptr<ClientText> done = std::move(running_[i]);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      finish(*done);
    }
  }

  void finish(ClientText& done) {
    Decoder& decoder = done.decoder();
    scheduler_.leave(done, decoder.text());
    VirtualText& text = result_.texts[done.index()];
    text.finish = decoder.finish();
    text.error = decoder.error();
    text.draft_error = decoder.draft_error();
    text.counters = decoder.counters();
    text.mode_reason = decoder.mode_reason();
    text.end_us = machine_.now_us();
    target_.close(done.id(), /*forget=*/false);
    if (draft_ != nullptr) draft_->close(done.id(), /*forget=*/false);
  }

  TargetModel& target_;
  DraftModel* draft_;
  const VirtualOptions& options_;
  PairProfile own_profile_;
  PairProfile* profile_;
  ModelLimits limits_;
  VirtualMachine machine_;
  BatchScheduler scheduler_;
  std::vector<VirtualClient> clients_;
  std::deque<std::size_t> arrivals_;  ///< clients that have no place yet, the earliest first.
  std::vector<std::unique_ptr<ClientText>> running_;
  VirtualCrowd result_;
};

}  // namespace

VirtualCrowd run_crowd(std::vector<VirtualClient> clients, TargetModel& target, DraftModel* draft,
                       const VirtualOptions& options, int n_parallel) {
  return Crowd(std::move(clients), target, draft, options, n_parallel).run();
}

}  // namespace specbranch
