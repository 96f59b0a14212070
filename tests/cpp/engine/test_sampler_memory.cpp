// What the target's samplers remember goes to the draft with the next command.
#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "specbranch/sampling/sampler_state.h"
#include "support/engine_support.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

/// What crosses between the models, as the memory's first number.
struct Seen {
  std::mutex mutex;
  std::vector<float> given;  ///< after each verification.
  std::vector<float> known;  ///< at each pass of the draft; 0: none.
};

/// Forwards all calls.
template <class M>
class Forwarding : public M {
 public:
  Forwarding(std::unique_ptr<M> inner, Seen* seen) : inner_(std::move(inner)), seen_(seen) {}

  Capabilities capabilities() const override { return inner_->capabilities(); }
  Pos length(SeqId seq) const override { return inner_->length(seq); }
  void truncate(const Truncate& op) override { inner_->truncate(op); }
  void fork(const Fork& op) override { inner_->fork(op); }
  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    return inner_->open(id, request, seqs);
  }
  void prefill(GenerationId id, Pos begin, Pos end) override { inner_->prefill(id, begin, end); }
  void close(GenerationId id, bool forget) override { inner_->close(id, forget); }

 protected:
  std::unique_ptr<M> inner_;
  Seen* seen_;
};

class RememberingTarget final : public Forwarding<TargetModel> {
 public:
  using Forwarding::Forwarding;
  std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) override {
    auto results = inner_->verify(segments, n_pad);
    const std::scoped_lock lock(seen_->mutex);
    seen_->given.push_back(static_cast<float>(seen_->given.size() + 1));
    results.front().verification.sampler_state = SamplerState{seen_->given.back(), 0.0F, 0.0F};
    return results;
  }
};

class WatchedDraft final : public Forwarding<DraftModel> {
 public:
  using Forwarding::Forwarding;
  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                            std::span<const RankOptions> ranks) override {
    {
      const std::scoped_lock lock(seen_->mutex);
      const auto& state = ranks.front().state;
      seen_->known.push_back(state ? state->mirostat_mu : 0.0F);
    }
    return inner_->draft(inputs, ranks);
  }
};

}  // namespace

TEST_CASE("the draft gets what the target's samplers remember") {
  for (const Mode mode : {Mode::kSpeculative, Mode::kPearl, Mode::kSpecBranch}) {
    CAPTURE(to_string(mode));
    Scenario scenario = make_long_scenario(5);
    Seen seen;
    EngineParts parts = make_parts(scenario);
    parts.target = [&] {
      return std::make_unique<RememberingTarget>(make_fake_target(scenario.target), &seen);
    };
    parts.draft = [&] {
      return std::make_unique<WatchedDraft>(make_fake_draft(scenario.draft), &seen);
    };
    {
      Engine engine(std::move(parts));
      Request request = scenario.request;
      request.mode = mode;
      collect(*engine.generate(request));
      seen.given.clear();
      seen.known.clear();
      const Collected again = collect(*engine.generate(request));
      CHECK(again.tokens.size() == 30);
    }
    REQUIRE(!seen.known.empty());
    CHECK(seen.known.front() == 0.0F);  // of the text before nothing is left
    CHECK(std::ranges::is_sorted(seen.known));
    CHECK(seen.known.back() > 0.0F);
    CHECK(seen.known.back() <= seen.given.back());
    if (mode != Mode::kSpeculative) continue;
    // Drafts and verifications take turns: each draft knows the verification before it.
    CHECK(seen.known.back() == seen.given[seen.given.size() - 2]);
  }
}
