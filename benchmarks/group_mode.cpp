// Whether texts should be verified in two groups, one while the draft works for the other.
//
//   cmake --preset dev && cmake --build build/dev --target specbranch_group_mode
//   build/dev/specbranch_group_mode [tokens of a text] [cold]
//
// Several texts on a synthetic pair under the virtual clock. Each row of the table is a machine, a
// number of texts, c (a target step over a draft step) and an acceptance rate. The columns are
// speeds relative to batches of single tokens:
//   auto    the engine, which has had as many texts before (unless cold): each batch has all
//           texts, and the draft works for all of them meanwhile;
//   serial  each batch has all texts, and waits until k tokens of each are drafted;
//   groups  the batches have one half of the texts in turn, the draft works for the other half, and
//           a batch waits until k tokens of its texts are drafted.
// Of the last two the best of all k is shown, with all drafted tokens verified or those that the
// composer buys: more than an engine could reach, which must choose k beforehand.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "specbranch/engine/batch_scheduler.h"
#include "specbranch/simulation/simulate.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "specbranch/simulation/virtual_crowd.h"
#include "specbranch/simulation/virtual_machine.h"

namespace {

using namespace specbranch;

constexpr double kStepUs = 20'000.0;
constexpr std::size_t kLongest = 64;
constexpr int kDeepest = 8;
constexpr Pos kPrompt = 16;

using Curve = std::vector<double>;

struct Place {
  const char* name;
  Curve target;  ///< [n - 1]: relative time of a batch of n.
  Curve draft;
  double target_slowdown = 1.0;
  double draft_slowdown = 1.0;
};

template <class F>
Curve curve_of(F relative) {
  Curve curve;
  for (std::size_t n = 0; n < kLongest; ++n) curve.push_back(relative(static_cast<double>(n)));
  return curve;
}

/// The curves of `specbranch_cpp.simulation.CURVES`.
std::vector<Place> places() {
  const Curve ideal(kLongest, 1.0);
  const Curve flat = curve_of([](double n) { return 1.0 + 0.05 * n; });
  const Curve gpu =
      curve_of([](double n) { return n < 8 ? 1.0 + 0.045 * n : 1.85 + 0.015 * (n - 8); });
  const Curve draft = curve_of([](double n) { return 1.0 + 0.01 * n; });
  const Curve cpu{1.0,  1.18, 1.28, 1.38, 2.09,   2.46,  2.29,   2.12,
                  2.26, 2.40, 2.54, 2.68, 2.8725, 3.065, 3.2575, 3.45};
  return {{"ideal", ideal, ideal},
          {"flat", flat, draft},
          {"gpu", gpu, draft},
          {"cpu, draft elsewhere", cpu, draft},
          {"two cores", cpu, cpu, 1.06, 1.6},
          {"shared cores", cpu, cpu, 2.0, 2.0}};
}

/// How texts are verified and drafted.
struct Method {
  int n_groups = 1;
  int least = 0;       ///< drafted tokens of each text that a batch waits for.
  int most = 0;        ///< drafted tokens of a text.
  bool whole = false;  ///< all of them are verified; else what the composer buys.
};

/// Drafts a chain while the text is not being verified, and offers it.
class ChainPlanner final : public Planner {
 public:
  explicit ChainPlanner(const Method& method) : method_(method) {}

  /// As many tokens are drafted as a batch should wait for.
  bool ready() const { return ready_; }

  Decision next(const View& view) override {
    Decision decision;
    if (!view.target_idle || view.submitted != kNoNode) return decision;
    NodeRef end{view.tree.root()};
    std::vector<double> chances;
    double chance = 1.0;
    while (end.rank == NodeRef::kItself && static_cast<int>(chances.size()) < view.max_path) {
      const Node& node = view.tree.at(end.node);
      if (!node.evaluated || node.candidates.empty()) break;
      chance *= node.candidates.front().confidence;
      chances.push_back(chance);
      const NodeRef child{node.id, 0};
      const NodeId known = view.tree.find(child);
      end = known == kNoNode ? child : NodeRef{known};
    }
    const auto n = static_cast<int>(chances.size());
    const int most = std::min({method_.most, view.max_path, view.max_depth});
    ready_ = n >= std::min(method_.least, most);
    if (view.draft_idle && view.draft_usable && n < most) decision.evaluate.push_back(end);
    decision.submit = end;
    decision.offered = std::move(chances);
    return decision;
  }

  int width() const override { return 1; }
  void on_verification(const View& /*view*/, bool /*hit*/) override { ready_ = false; }

 private:
  Method method_;
  bool ready_ = false;
};

/// A text that is verified when its group has its turn.
class GroupedText final : public RunningText {
 public:
  GroupedText(GenerationId id, int group, const BatchScheduler::Place& place,
              std::shared_ptr<const Request> request, const Method& method)
      : id_(id), group_(group), seq_(place.target_seq), whole_(method.whole), request_(request) {
    auto planner = std::make_unique<ChainPlanner>(method);
    planner_ = planner.get();
    decoder_.emplace(
        std::move(request), place.limits, id, std::move(planner),
        [](const Committed& /*committed*/) { return false; }, seq_);
  }

  GenerationId id() const override { return id_; }
  const Request& request() const override { return *request_; }
  SeqId target_seq() const override { return seq_; }
  bool finished() const override { return decoder_->finish() != Finish::kNone; }
  const Offer* offer() const override { return withheld ? nullptr : decoder_->offer(); }
  Command take_offer(int n_drafted) override {
    const auto all = static_cast<int>(decoder_->offer()->chances.size());
    return decoder_->take_offer(whole_ ? all : n_drafted);
  }

  int group() const { return group_; }
  bool ready() const { return decoder_->offer() != nullptr && planner_->ready(); }
  Decoder& decoder() { return *decoder_; }

  bool withheld = true;

 private:
  GenerationId id_;
  int group_;
  SeqId seq_;
  bool whole_;
  std::shared_ptr<const Request> request_;
  ChainPlanner* planner_ = nullptr;
  std::optional<Decoder> decoder_;
};

class GroupRun final : private ModelPair {
 public:
  GroupRun(TargetModel& target, DraftModel& draft, const VirtualOptions& options, int n_texts)
      : limits_{target.capabilities(), draft.capabilities()},
        machine_(target, &draft, options),
        scheduler_(this, &limits_, options.profile, n_texts) {}

  /// Microseconds of all texts.
  std::int64_t run(const std::vector<Request>& requests, const Method& method) {
    n_groups_ = method.n_groups;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const BatchScheduler::Place place = scheduler_.take_place(requests[i]);
      texts_.push_back(std::make_unique<GroupedText>(i + 1, static_cast<int>(i) % n_groups_, place,
                                                     std::make_shared<const Request>(requests[i]),
                                                     method));
      scheduler_.join(*texts_.back());
    }
    for (const auto& text : texts_) scheduler_.dispatch(*text, text->decoder().start());
    for (;;) {
      give_turn();
      scheduler_.send_waiting();
      if (!machine_.busy()) break;
      for (const Event& event : scheduler_.answer(machine_.complete(machine_.pick()))) bring(event);
      while (const std::optional<Event> event = scheduler_.next_dropped()) bring(*event);
    }
    for (const auto& text : texts_) {
      if (text->decoder().finish() == Finish::kLength) continue;
      std::fprintf(stderr, "a text has no end\n");
      std::exit(1);
    }
    return machine_.now_us();
  }

 private:
  void bring(const Event& event) {
    GroupedText& text = *texts_[static_cast<std::size_t>(event.generation_id - 1)];
    scheduler_.dispatch(text, text.decoder().on(event));
    if (text.decoder().idle()) scheduler_.leave(text);
  }

  /// Lets the texts of a group be verified as soon as all of them are ready.
  void give_turn() {
    if (machine_.busy(ModelRole::kTarget)) return;
    for (int i = 0; i < n_groups_; ++i, turn_ = (turn_ + 1) % n_groups_) {
      bool runs = false;
      bool ready = true;
      for (const auto& text : texts_) {
        if (text->finished() || text->group() != turn_) continue;
        runs = true;
        ready = ready && text->ready();
      }
      if (!runs) continue;
      for (const auto& text : texts_) text->withheld = !ready || text->group() != turn_;
      return;
    }
  }

  void send(ModelRole role, Command command) override {
    if (std::holds_alternative<VerifyCommand>(command.body)) {
      for (const auto& text : texts_) text->withheld = true;
      turn_ = (turn_ + 1) % n_groups_;
    }
    machine_.send(role, std::move(command));
  }
  void request_abort(ModelRole role) override { machine_.abort(role); }
  std::int64_t now_us() const override { return machine_.now_us(); }

  ModelLimits limits_;
  VirtualMachine machine_;
  BatchScheduler scheduler_;
  std::vector<std::unique_ptr<GroupedText>> texts_;
  int n_groups_ = 1;
  int turn_ = 0;
};

/// One cell of the table.
struct Cell {
  const Place& place;
  int n_texts = 0;
  double c = 0.0;
  double alpha = 0.0;
  int n_tokens = 0;
  bool cold = false;  ///< the engine has had no text before.

  SyntheticOptions pair() const {
    SyntheticOptions pair;
    pair.alpha = alpha;
    pair.n_target_seq = n_texts;
    pair.n_seq = 32 * n_texts;
    pair.max_batch = 512;
    pair.text_begin = kPrompt;
    return pair;
  }

  VirtualOptions options(PairProfile* profile) const {
    for (const double one : place.target) profile->costs.target_us.push_back(kStepUs * one);
    for (const double one : place.draft) profile->costs.draft_us.push_back(kStepUs / c * one);
    profile->costs.target_slowdown = place.target_slowdown;
    profile->costs.draft_slowdown = place.draft_slowdown;
    VirtualOptions options;
    options.profile = profile;
    options.hop_us = 10;
    options.abort_us = 1'000'000'000;
    options.target_slowdown = place.target_slowdown;
    options.draft_slowdown = place.draft_slowdown;
    options.target_us = [this](const Command& command) -> std::int64_t {
      const auto* verify = std::get_if<VerifyCommand>(&command.body);
      if (verify == nullptr) return 0;
      return std::llround(kStepUs * step_us(place.target, verify->n_tokens()));
    };
    options.draft_us = [this](const Command& command) -> std::int64_t {
      const auto* pass = std::get_if<DraftCommand>(&command.body);
      if (pass == nullptr) return 0;
      return std::llround(kStepUs / c * step_us(place.draft, pass->n_tokens()));
    };
    return options;
  }

  std::vector<Request> requests(Mode mode, std::uint64_t seed) const {
    std::vector<Request> requests(static_cast<std::size_t>(n_texts));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      requests[i].mode = mode;
      requests[i].prompt.assign(kPrompt, 0);
      requests[i].max_tokens = n_tokens;
      requests[i].sampling.seed = seed + i + 1;
    }
    return requests;
  }

  double engine_us(Mode mode) const {
    PairProfile profile;
    const VirtualOptions own = options(&profile);
    std::int64_t us = 0;
    for (const std::uint64_t seed : {100U, 0U}) {
      if (cold && seed > 0) continue;
      const auto target = make_synthetic_target(pair());
      const auto draft = make_synthetic_draft(pair());
      std::vector<VirtualClient> clients;
      for (Request& request : requests(mode, seed)) clients.push_back({std::move(request)});
      us = run_crowd(std::move(clients), *target, draft.get(), own, n_texts).time_us;
    }
    return static_cast<double>(us);
  }

  /// The best of all numbers of drafted tokens to wait for, and that number.
  std::pair<double, int> best_us(int n_groups) const {
    std::pair<double, int> best{1e18, 0};
    for (int least = n_groups == 1 ? 1 : 0; least <= kDeepest; ++least) {
      for (const bool whole : {false, true}) {
        for (const int most : {least, kDeepest}) {
          PairProfile profile;
          const VirtualOptions own = options(&profile);
          const auto target = make_synthetic_target(pair());
          const auto draft = make_synthetic_draft(pair());
          GroupRun run(*target, *draft, own, n_texts);
          const auto us = static_cast<double>(
              run.run(requests(Mode::kSpeculative, 0), {n_groups, least, most, whole}));
          best = std::min(best, std::pair{us, least});
        }
      }
    }
    return best;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int n_tokens = argc > 1 ? std::atoi(argv[1]) : 300;
  const bool cold = argc > 2 && std::string(argv[2]) == "cold";
  std::printf("| machine | texts | c | alpha | auto | serial (k) | groups (k) | groups / auto |\n");
  std::printf("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const Place& place : places()) {
    for (const int n_texts : {4, 8}) {
      for (const double c : {2.0, 3.0, 5.0}) {
        for (const double alpha : {0.5, 0.8, 0.9}) {
          const Cell cell{place, n_texts, c, alpha, n_tokens, cold};
          const double plain = cell.engine_us(Mode::kAutoregressive);
          const double own = cell.engine_us(Mode::kAuto);
          const auto [serial, serial_k] = cell.best_us(1);
          const auto [groups, groups_k] = cell.best_us(2);
          std::printf("| %s | %d | %g | %g | %.2f | %.2f (%d) | %.2f (%d) | %.2f |\n", place.name,
                      n_texts, c, alpha, plain / own, plain / serial, serial_k, plain / groups,
                      groups_k, own / groups);
          std::fflush(stdout);
        }
      }
    }
  }
}
