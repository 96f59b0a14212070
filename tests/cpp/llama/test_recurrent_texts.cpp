// Several texts at once on recurrent and hybrid models: each is what it is alone.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "recurrent_models.h"
#include "specbranch/model/single_session.h"
#include "specbranch/simulation/virtual_crowd.h"
#include "specbranch/simulation/virtual_run.h"
#include "support.h"

namespace specbranch::llama {
namespace {

using namespace testing;

constexpr int kTexts = 3;
constexpr Mode kModes[] = {Mode::kAutoregressive, Mode::kSpeculative, Mode::kPearl,
                           Mode::kSpecBranch, Mode::kAuto};

/// Requests of all kinds: modes, seeds, lengths of prompts and of texts.
std::vector<Request> make_requests(int n) {
  std::vector<Request> requests;
  for (int i = 0; i < n; ++i) {
    SamplingOptions sampling;
    sampling.temperature = i % 4 == 0 ? 0.0F : 1.0F;
    sampling.seed = static_cast<std::uint64_t>(i);
    Request request = request_of(code_prompt(40 + 13 * (i % 5)), sampling);
    request.max_tokens = 20 + 7 * (i % 4);
    request.mode = kModes[i % 5];
    request.max_branches = 4;
    requests.push_back(std::move(request));
  }
  return requests;
}

void check_crowd(const Written& model, TargetModel& target, DraftModel* draft) {
  const std::vector<Request> requests = make_requests(15);
  LlamaTarget single(model.weights, model.options, {});
  std::vector<VirtualClient> clients;
  for (const Request& request : requests) clients.push_back({request, 0});
  VirtualOptions options;
  options.order = DeliveryOrder::kShuffled;
  const VirtualCrowd crowd = run_crowd(std::move(clients), target, draft, options, kTexts);
  std::int64_t n_drafted = 0;
  std::int64_t n_verifications = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    CAPTURE(i);
    Request plain = requests[i];
    plain.mode = Mode::kAutoregressive;
    const VirtualResult alone = run_virtually(plain, single, nullptr);
    CHECK(!crowd.texts[i].error);
    CHECK(!crowd.texts[i].draft_error);
    CHECK(crowd.texts[i].tokens == alone.tokens);
    n_drafted += crowd.texts[i].counters.n_drafted;
    n_verifications += crowd.texts[i].counters.n_target_steps;
  }
  CHECK((draft == nullptr || n_drafted > 100));
  CHECK(crowd.n_batches < n_verifications);  // texts shared some
}

/// `splits_at_gaps`: see Capabilities.
void check_model(const Written& model, bool splits_at_gaps) {
  ModelOptions options = model.options;
  options.flash_attn = FlashAttention::kOff;  // whose kernel for several rows is coarser
  LlamaTarget target(model.weights, options, {.n_seq = kTexts});
  const Capabilities limits = target.capabilities();
  CHECK(limits.n_seq == kTexts);
  CHECK(limits.rollback == Rollback::kCopies);
  CHECK(limits.splits_at_gaps == splits_at_gaps);
  check_crowd(model, target, nullptr);
  LlamaDraft itself(model.weights, options, {.n_seq = 10 * kTexts, .n_texts = kTexts});
  CHECK(itself.capabilities().n_seq == 10 * kTexts);
  CHECK(itself.capabilities().splits_at_gaps == splits_at_gaps);
  check_crowd(model, target, &itself);
  LlamaDraft other(draft_weights(), small_options(draft_path()),
                   {.n_seq = 10 * kTexts, .n_texts = kTexts});
  CHECK_FALSE(other.capabilities().splits_at_gaps);
  check_crowd(model, target, &other);
}

/// Opens a session and reads its prompt. Returns the tokens that it did not read.
int read_prompt(LlamaTarget& target, GenerationId id, SeqId seq, const std::vector<Token>& prompt) {
  return begin(target, id, std::make_shared<const Request>(request_of(prompt)),
               std::vector<SeqId>{seq, target.capabilities().spare_of(seq)});
}

/// Of logits up to 50; those after a wrong state differ by whole numbers. The cells of attention
/// layers may have another order.
constexpr float kRounding = 2e-3F;

struct Step {
  std::vector<float> logits;
  Token next = 0;
};

Step step(LlamaTarget& target, GenerationId id, SeqId seq, Token token) {
  const Segment segment{id, seq, target.length(seq), {{token}}};
  const auto results = target.verify(std::span(&segment, 1), 0);
  const auto row = target.logits(0);
  return {{row.begin(), row.end()}, results.front().verification.choices.front().token};
}

/// A prompt goes on from what the texts of others have read, and leaves them as they are.
void check_shared_beginning(const Written& model) {
  const auto first = code_prompt(70);
  std::vector<std::vector<Token>> others(2, first);
  for (std::size_t i = 0; i < others.size(); ++i) {
    others[i].resize(50);
    others[i].insert(others[i].end(), 30, static_cast<Token>(9 + i));
  }
  LlamaTarget target(model.weights, model.options, {.prefill_chunk = 16, .n_seq = kTexts});
  CHECK(read_prompt(target, 1, 0, first) == 0);
  const Token token = step(target, 1, 0, first.back()).next;
  CHECK(read_prompt(target, 2, 1, others[0]) == 0);  // there is no state where they part, yet
  const Step second = step(target, 2, 1, others[0].back());
  CHECK(read_prompt(target, 3, 2, others[1]) == 48);
  const Step third = step(target, 3, 2, others[1].back());
  const Step next = step(target, 1, 0, token);
  CHECK(target.length(0) == 71);
  LlamaTarget fresh(model.weights, model.options, {.prefill_chunk = 16, .n_seq = kTexts});
  read_prompt(fresh, 1, 0, others[0]);
  CHECK(largest_difference(step(fresh, 1, 0, others[0].back()).logits, second.logits) < kRounding);
  fresh.close(1, /*forget=*/true);
  read_prompt(fresh, 2, 0, others[1]);
  CHECK(largest_difference(step(fresh, 2, 0, others[1].back()).logits, third.logits) < kRounding);
  fresh.close(2, /*forget=*/true);
  read_prompt(fresh, 3, 0, first);
  CHECK(step(fresh, 3, 0, first.back()).next == token);
  CHECK(largest_difference(step(fresh, 3, 0, token).logits, next.logits) < kRounding);
}

TEST_CASE("prompts that begin alike are read once from a chunk on where an earlier one parted") {
  SPECBRANCH_NEEDS_MODELS();
  check_shared_beginning(Mamba());
  check_shared_beginning(Lfm2());
}

TEST_CASE("several texts at once on a recurrent model are what they are alone") {
  SPECBRANCH_NEEDS_MODELS();
  check_model(Mamba(), /*splits_at_gaps=*/true);
}

TEST_CASE("several texts at once on a hybrid model are what they are alone") {
  SPECBRANCH_NEEDS_MODELS();
  check_model(Lfm2(), /*splits_at_gaps=*/false);
}

}  // namespace
}  // namespace specbranch::llama
