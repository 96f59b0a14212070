#include "support/engine_support.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "specbranch/base/errors.h"

namespace specbranch::test {
namespace {

/// Far more than anything takes, also under a sanitizer on a busy machine.
constexpr std::chrono::seconds kNever{60};

template <class M>
class Hooked : public M {
 public:
  Hooked(std::unique_ptr<M> inner, Hook hook) : inner_(std::move(inner)), hook_(std::move(hook)) {}

  Capabilities capabilities() const override { return inner_->capabilities(); }
  Pos length(SeqId seq) const override { return inner_->length(seq); }
  void truncate(const Truncate& op) override { inner_->truncate(op); }
  void fork(const Fork& op) override { inner_->fork(op); }

  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    return inner_->open(id, request, seqs);
  }
  void prefill(GenerationId id, Pos begin, Pos end) override {
    step();
    inner_->prefill(id, begin, end);
  }
  void close(GenerationId id, bool forget) override { inner_->close(id, forget); }

 protected:
  M& inner() { return *inner_; }

  void step() {
    if (hook_) hook_(n_steps_++, [this] { return this->abort_requested(); });
    if (this->abort_requested()) throw Aborted("[Hooked::step] aborted");
  }

  /// A pass over the sequences of `items`. One that is cut short loses those that are whole.
  template <class Item>
  void step_over(std::span<const Item> items) {
    try {
      step();
    } catch (const Aborted&) {
      if (inner_->capabilities().rollback == Rollback::kCopies) {
        for (const Item& item : items) inner_->truncate({item.seq, inner_->length(item.seq), 0});
      }
      throw;
    }
  }

 private:
  std::unique_ptr<M> inner_;
  Hook hook_;
  int n_steps_ = 0;
};

class HookedTarget final : public Hooked<TargetModel> {
 public:
  using Hooked::Hooked;
  std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) override {
    step_over(segments);
    return inner().verify(segments, n_pad);
  }
  std::vector<TokenScore> take_prompt_scores(GenerationId id) override {
    return inner().take_prompt_scores(id);
  }
};

class HookedDraft final : public Hooked<DraftModel> {
 public:
  using Hooked::Hooked;
  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                            std::span<const RankOptions> ranks) override {
    step_over(inputs);
    return inner().draft(inputs, ranks);
  }
};

}  // namespace

std::unique_ptr<TargetModel> make_hooked_target(const FakeOptions& options, Hook hook) {
  if (!hook) return make_fake_target(options);  // which sees an abort inside a step, too
  return std::make_unique<HookedTarget>(make_fake_target(options), std::move(hook));
}

std::unique_ptr<DraftModel> make_hooked_draft(const FakeOptions& options, Hook hook) {
  return std::make_unique<HookedDraft>(make_fake_draft(options), std::move(hook));
}

std::vector<std::string> make_pieces(int n_vocab) {
  std::vector<std::string> pieces;
  for (int i = 0; i < n_vocab; ++i) pieces.push_back("<" + std::to_string(i) + ">");
  return pieces;
}

Scenario make_valid_scenario(std::uint64_t seed) {
  Scenario scenario = make_scenario(seed);
  scenario.target.n_ctx = 64;
  return scenario;
}

Scenario make_long_scenario(std::uint64_t seed) {
  Scenario scenario = make_scenario(seed);
  scenario.request.prompt.resize(4, 1);
  scenario.target.prefill_chunk = 128;
  scenario.draft.prefill_chunk = 128;
  scenario.request.max_tokens = 30;
  scenario.request.mode = Mode::kSpecBranch;
  scenario.target.n_ctx = 64;
  scenario.target.end_every = 0;
  scenario.draft.n_ctx = 64;
  scenario.draft.n_vocab = scenario.target.n_vocab;
  return scenario;
}

EngineParts make_parts(const Scenario& scenario, Hook target_hook, Hook draft_hook) {
  EngineParts parts;
  parts.target = [options = scenario.target, hook = std::move(target_hook)] {
    return make_hooked_target(options, hook);
  };
  parts.draft = [options = scenario.draft, hook = std::move(draft_hook)] {
    return make_hooked_draft(options, hook);
  };
  parts.pieces = make_pieces(scenario.target.n_vocab);
  return parts;
}

EngineParts make_parallel_parts(const Scenario& models, int n_parallel, Hook target_hook,
                                Hook draft_hook) {
  Scenario own = models;
  own.target.n_target_seq = n_parallel;
  own.draft.n_seq *= n_parallel;
  EngineParts parts = make_parts(own, std::move(target_hook), std::move(draft_hook));
  parts.n_parallel = n_parallel;
  return parts;
}

Hook Barrier::hook() {
  return [this](int step, const std::function<bool()>& aborted) {
    if (step != step_) return;
    reached_.send(step);
    while (!released_.load()) {
      if (aborted()) {
        aborted_.store(true);
        return;
      }
      std::this_thread::yield();
    }
  };
}

void Barrier::wait_until_reached() { REQUIRE(reached_.receive_for(kNever)); }

Output next(Generation& generation) {
  std::optional<Output> output = generation.next_for(kNever);
  REQUIRE(output);
  return std::move(*output);
}

Collected collect(Generation& generation) {
  Collected all;
  for (;;) {
    Output output = next(generation);
    if (auto* end = std::get_if<GenerationEnd>(&output)) {
      all.text += end->tail;
      // A text survives it, but it is a defect of the engine.
      INFO(message_of(end->draft_error));
      CHECK_FALSE(holds<PreconditionError>(end->draft_error));
      all.end = std::move(*end);
      return all;
    }
    const Chunk& chunk = std::get<Chunk>(output);
    all.tokens.push_back(chunk.choice.token);
    all.from_draft.push_back(chunk.origin != Origin::kTarget);
    all.choices.push_back(chunk.choice);
    all.text += chunk.bytes;
  }
}

Collected run_engine(const Scenario& scenario, Mode mode) {
  Engine engine(make_parts(scenario));
  Request request = scenario.request;
  request.mode = mode;
  return collect(*engine.generate(request));
}

int count_failed(const std::vector<std::unique_ptr<Generation>>& running,
                 const Expected& expected) {
  int n_failed = 0;
  for (const auto& generation : running) {
    const Collected found = collect(*generation);
    if (found.end.finish == Finish::kFailed) {
      ++n_failed;
      CHECK(holds<DecodeError>(found.end.error));
      CHECK(is_prefix(found.tokens, expected.tokens));
    } else {
      CHECK(message_of(found.end.error).empty());
      CHECK(found.end.finish == expected.finish);
      CHECK(found.tokens == expected.tokens);
    }
  }
  return n_failed;
}

void check_times(const Stats& stats) {
  CHECK(stats.prefill_ms >= 0);
  CHECK(stats.decode_ms >= 0);
  CHECK(stats.target_busy_ms >= 0);
  CHECK(stats.draft_busy_ms >= 0);
  CHECK(stats.overlap_ms >= 0);
  CHECK(stats.overlap_ms <= std::min(stats.target_busy_ms, stats.draft_busy_ms) + 1e-6);
  CHECK(stats.coordination_ms >= -1e-6);
  CHECK(stats.target_idle_ms >= -1e-6);
  CHECK(stats.target_busy_ms + stats.target_idle_ms == doctest::Approx(stats.decode_ms));
  CHECK(stats.draft_idle_ms >= -1e-6);
  if (stats.counters.n_draft_steps > 0) {
    CHECK(stats.draft_busy_ms + stats.draft_idle_ms == doctest::Approx(stats.decode_ms));
    CHECK(stats.coordination_ms <= std::min(stats.target_idle_ms, stats.draft_idle_ms) + 1e-6);
  }
  CHECK(stats.target_busy_ms + stats.draft_busy_ms - stats.overlap_ms <= stats.decode_ms + 1e-6);
}

}  // namespace specbranch::test
