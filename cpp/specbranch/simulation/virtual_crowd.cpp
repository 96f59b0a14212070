#include "specbranch/simulation/virtual_crowd.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <numeric>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/engine/batch_composer.h"
#include "specbranch/engine/command_queue.h"
#include "specbranch/engine/sequence_pool.h"
#include "specbranch/model/kept_texts.h"
#include "specbranch/simulation/virtual_machine.h"

namespace specbranch {
namespace {

constexpr GenerationId kGroup = 1;  // of all texts

class Crowd {
 public:
  Crowd(std::vector<VirtualClient> clients, TargetModel& target, DraftModel* draft,
        const VirtualOptions& options, int n_parallel)
      : target_(target),
        draft_(draft),
        options_(options),
        profile_(options.profile == nullptr ? &own_profile_ : options.profile),
        machine_(target, draft, options),
        n_parallel_(static_cast<std::size_t>(n_parallel)),
        seqs_(n_parallel),
        of_target_(ModelRole::kTarget, target.capabilities().max_batch),
        of_draft_(ModelRole::kDraft, draft == nullptr ? 1 : draft->capabilities().max_batch),
        composer_(profile_, target.capabilities().max_batch),
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
      send_waiting();
      const bool busy = machine_.busy();
      if (!arrivals_.empty() && running_.size() < n_parallel_) {
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
  struct Text {
    std::size_t index = 0;
    SeqId seq = 0;
    std::unique_ptr<Decoder> decoder;
  };
  using Running = std::unique_ptr<Text>;

  static GenerationId id_of(std::size_t index) { return static_cast<GenerationId>(index) + 1; }

  void start_next() {
    while (!arrivals_.empty() && running_.size() < n_parallel_ &&
           clients_[arrivals_.front()].arrival_us <= machine_.now_us() &&
           has_room(clients_[arrivals_.front()].request)) {
      const std::size_t index = arrivals_.front();
      arrivals_.pop_front();
      start(index);
    }
  }

  bool has_room(const Request& next) const {
    std::vector<const Request*> running;
    running.reserve(running_.size());
    for (const Running& run : running_) running.push_back(&clients_[run->index].request);
    return fits_beside(running, next, target_.capabilities()) &&
           (draft_ == nullptr || fits_beside(running, next, draft_->capabilities()));
  }

  void start(std::size_t index) {
    VirtualClient& client = clients_[index];
    VirtualText& text = result_.texts[index];
    text.start_us = machine_.now_us();
    auto run = std::make_unique<Text>();
    run->index = index;
    run->seq = seqs_.take(client.request.prompt);
    ModelLimits limits;
    limits.target = target_.capabilities();
    if (draft_ != nullptr) {
      limits.draft = draft_->capabilities();
      limits.draft->n_seq /= static_cast<int>(n_parallel_);
      limits.first_draft_seq = run->seq * limits.draft->n_seq;
    }
    profile_->others.n_running = static_cast<int>(running_.size());
    auto request = std::make_shared<const Request>(client.request);
    std::unique_ptr<Planner> planner = std::move(client.planner);
    if (!planner) planner = make_planner(*request, profile_, draft_ != nullptr);
    run->decoder = std::make_unique<Decoder>(
        std::move(request), limits, id_of(index), std::move(planner),
        [this, &text](const Committed& committed) {
          text.tokens.push_back(committed.choice.token);
          text.token_us.push_back(machine_.now_us());
          return false;
        },
        run->seq, client.proposer ? client.proposer() : nullptr);
    running_.push_back(std::move(run));
    Text& started = *running_.back();
    dispatch(started, started.decoder->start());
    finish_idle();
  }

  void deliver(ModelRole role) {
    Event event = machine_.complete(role);
    (role == ModelRole::kTarget ? result_.target_us : result_.draft_us) +=
        event.end_us - event.begin_us;
    if (options_.tamper_event) options_.tamper_event(event);
    const StepTime step = timer_.ended(role, event.begin_us + event.ops_us, event.end_us);
    if (running_.size() > 1) event.overlap = step.overlap;
    const std::vector<Event> events =
        (role == ModelRole::kTarget ? of_target_ : of_draft_).answer(std::move(event));
    composer_.learn(events);
    for (const Event& own : events) {
      Text& text = at(own.generation_id);
      dispatch(text, text.decoder->on(own));
    }
    while (!dropped_.empty()) {
      const Event own = std::move(dropped_.front());
      dropped_.pop_front();
      Text& text = at(own.generation_id);
      dispatch(text, text.decoder->on(own));
    }
    finish_idle();
  }

  Text& at(GenerationId id) {
    return **std::ranges::find(running_, id, [](const Running& run) { return id_of(run->index); });
  }

  void dispatch(Text& text, Commands commands) {
    if (commands.abort_target) abort(text, ModelRole::kTarget);
    if (commands.abort_draft) abort(text, ModelRole::kDraft);
    if (commands.target) of_target_.add(std::move(*commands.target), kGroup);
    if (commands.draft) of_draft_.add(std::move(*commands.draft), kGroup);
  }

  void abort(Text& text, ModelRole role) {
    CommandQueue& queue = role == ModelRole::kTarget ? of_target_ : of_draft_;
    if (text.decoder->finish() != Finish::kNone) {
      if (std::optional<Event> dropped = queue.drop(id_of(text.index))) {
        dropped->begin_us = dropped->end_us = machine_.now_us();
        dropped_.push_back(std::move(*dropped));
      }
    }
    if (queue.release(id_of(text.index))) machine_.abort(role);
  }

  void compose() {
    std::vector<Text*> texts;
    std::vector<BatchOffer> offers;
    for (const Running& run : running_) {
      const Offer* offer = run->decoder->offer();
      if (offer == nullptr) continue;
      texts.push_back(run.get());
      offers.push_back({offer->chances, offer->n_replayed});
    }
    if (texts.empty()) return;
    const std::vector<int> lengths = composer_.lengths(offers, of_target_.n_waiting_tokens(kGroup));
    for (std::size_t i = 0; i < texts.size(); ++i) {
      of_target_.add(texts[i]->decoder->take_offer(lengths[i]), kGroup);
    }
  }

  void send_waiting() {
    if (of_target_.idle()) compose();
    if (std::optional<Command> command = of_target_.next()) {
      if (const auto* verify = std::get_if<VerifyCommand>(&command->body)) {
        ++result_.n_batches;
        result_.n_batch_tokens += verify->n_tokens();
      }
      timer_.issued(ModelRole::kTarget, 0, machine_.now_us());
      machine_.send(ModelRole::kTarget, std::move(*command));
    }
    if (draft_ == nullptr) return;
    if (std::optional<Command> command = of_draft_.next()) {
      timer_.issued(ModelRole::kDraft, 0, machine_.now_us());
      machine_.send(ModelRole::kDraft, std::move(*command));
    }
  }

  void finish_idle() {
    for (std::size_t i = 0; i < running_.size();) {
      if (!running_[i]->decoder->idle()) {
        ++i;
        continue;
      }
      const Running done = std::move(running_[i]);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      profile_->others.n_running = std::max(0, static_cast<int>(running_.size()) - 1);
      VirtualText& text = result_.texts[done->index];
      text.finish = done->decoder->finish();
      text.error = done->decoder->error();
      text.draft_error = done->decoder->draft_error();
      text.counters = done->decoder->counters();
      text.mode_reason = done->decoder->mode_reason();
      text.end_us = machine_.now_us();
      target_.close(id_of(done->index), /*forget=*/false);
      if (draft_ != nullptr) draft_->close(id_of(done->index), /*forget=*/false);
      seqs_.give_back(done->seq, done->decoder->text());
    }
  }

  TargetModel& target_;
  DraftModel* draft_;
  const VirtualOptions& options_;
  PairProfile own_profile_;
  PairProfile* profile_;
  VirtualMachine machine_;
  std::size_t n_parallel_;
  SequencePool seqs_;
  CommandQueue of_target_;
  CommandQueue of_draft_;
  BatchComposer composer_;
  StepTimer timer_;
  std::vector<VirtualClient> clients_;
  std::deque<std::size_t> arrivals_;  ///< clients that have no place yet, the earliest first.
  std::vector<Running> running_;
  std::deque<Event> dropped_;  ///< answers to commands that were never sent.
  VirtualCrowd result_;
};

}  // namespace

VirtualCrowd run_crowd(std::vector<VirtualClient> clients, TargetModel& target, DraftModel* draft,
                       const VirtualOptions& options, int n_parallel) {
  return Crowd(std::move(clients), target, draft, options, n_parallel).run();
}

}  // namespace specbranch
