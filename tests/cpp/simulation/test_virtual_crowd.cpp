// Several generations at once under the virtual clock.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/simulation/simulate.h"
#include "specbranch/simulation/synthetic_pair.h"
#include "specbranch/simulation/virtual_crowd.h"
#include "support/support.h"

using namespace specbranch;
using namespace specbranch::test;

namespace {

constexpr double kStep = 20'000.0;      // microseconds of one token
constexpr double kPromptToken = 200.0;  // the same in a prompt
constexpr int kChunk = 128;

/// Quantized weights on a GPU: a slope, and a jump where the kernels for few vectors end.
std::vector<double> gpu_curve() {
  std::vector<double> us;
  for (int n = 0; n < 96; ++n) us.push_back(kStep * (n < 8 ? 1.0 + 0.045 * n : 1.73 + 0.015 * n));
  return us;
}

/// A pair on a machine, and clients that all come at once.
struct Setup {
  Mode mode = Mode::kAuto;
  int n_parallel = 4;
  int n_clients = 4;
  int n_prompt = 16;
  int n_tokens = 400;
  double alpha = 0.8;
  double draft_cost = 0.125;  ///< of a target step.
  double slowdown = 1.0;
  double draft_prompt = 0.1;  ///< time of a prompt token in the draft, of one in the target.
  std::vector<double> target_us = gpu_curve();
  bool measured = true;  ///< the costs are known before the first text.
  bool has_draft = true;
  double copy_rate = 0.0;  ///< of the text, which then drafts, too.
};

VirtualCrowd run(const Setup& setup, std::vector<VirtualClient> clients = {}) {
  SyntheticOptions pair;
  pair.alpha = setup.alpha;
  pair.copy_rate = setup.copy_rate;
  pair.n_target_seq = setup.n_parallel;
  pair.n_seq = 32 * setup.n_parallel;
  pair.max_batch = 512;
  pair.text_begin = 16;
  const auto target = make_synthetic_target(pair);
  const auto draft = make_synthetic_draft(pair);
  std::vector<double> draft_us;
  for (int n = 0; n < 96; ++n) draft_us.push_back(setup.draft_cost * kStep * (1.0 + 0.01 * n));

  PairProfile profile;
  if (setup.measured) {
    profile.costs.target_us.assign(setup.target_us.begin(), setup.target_us.begin() + 17);
    profile.costs.draft_us.assign(draft_us.begin(), draft_us.begin() + 17);
    profile.costs.target_slowdown = profile.costs.draft_slowdown = setup.slowdown;
  }
  const auto duration = [](const std::vector<double>& us, double prompt_us,
                           const Command& command) {
    if (const auto* chunk = std::get_if<PrefillCommand>(&command.body)) {
      return std::llround(prompt_us * (chunk->end - chunk->begin));
    }
    if (std::holds_alternative<OpenCommand>(command.body)) return std::llround(0.0);
    if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
      return std::llround(step_us(us, verify->n_tokens()));
    }
    return std::llround(step_us(us, std::get<DraftCommand>(command.body).n_tokens()));
  };
  VirtualOptions options;
  options.profile = &profile;
  options.hop_us = 10;
  options.abort_us = 1'000'000'000;
  options.target_slowdown = options.draft_slowdown = setup.slowdown;
  options.target_us = [&](const Command& c) { return duration(setup.target_us, kPromptToken, c); };
  options.draft_us = [&](const Command& c) {
    return duration(draft_us, setup.draft_prompt * kPromptToken, c);
  };
  if (clients.empty()) {
    for (int i = 0; i < setup.n_clients; ++i) {
      VirtualClient client;
      client.request.mode = setup.mode;
      client.request.prompt.assign(static_cast<std::size_t>(setup.n_prompt), i);
      client.request.max_tokens = setup.n_tokens;
      if (setup.copy_rate > 0.0 && setup.mode == Mode::kAuto) {
        client.proposer = [&profile, request = client.request] {
          return text_proposer(request, texts_of(request), &profile);
        };
      }
      clients.push_back(std::move(client));
    }
  }
  DraftModel* used = setup.has_draft ? draft.get() : nullptr;
  return run_crowd(std::move(clients), *target, used, options, setup.n_parallel);
}

/// Tokens of all texts in the time of the same with single tokens.
double gain(Setup setup) {
  const std::int64_t us = run(setup).time_us;
  setup.mode = Mode::kAutoregressive;
  return static_cast<double>(run(setup).time_us) / static_cast<double>(us);
}

}  // namespace

TEST_CASE("each text of a crowd is what it is alone") {
  for (const Mode mode : kAllModes) {
    Setup setup;
    setup.mode = mode;
    setup.n_clients = 7;
    setup.n_tokens = 60;
    const VirtualCrowd crowd = run(setup);
    setup.n_parallel = 1;
    const VirtualCrowd alone = run(setup);
    CAPTURE(static_cast<int>(mode));
    for (std::size_t i = 0; i < crowd.texts.size(); ++i) {
      CHECK(crowd.texts[i].tokens == alone.texts[i].tokens);
      CHECK(crowd.texts[i].finish == Finish::kLength);
      CHECK(message_of(crowd.texts[i].error).empty());
      CHECK(message_of(crowd.texts[i].draft_error).empty());
    }
    CHECK(crowd.time_us < alone.time_us);
  }
}

TEST_CASE("auto beside others gains on a GPU-like curve") {
  for (const int n : {2, 4, 8}) {
    Setup setup;
    setup.n_parallel = n;
    setup.n_clients = 2 * n;
    CAPTURE(n);
    CHECK(gain(setup) >= 1.3);
  }
}

TEST_CASE("a crowd learns an unknown pair within a few batches") {
  // Rows are free, so that a text without delay has three tokens and more in each batch.
  for (const int n : {2, 4, 8}) {
    CAPTURE(n);
    Setup setup;
    setup.n_parallel = setup.n_clients = n;
    setup.n_tokens = 200;
    setup.alpha = 0.9;
    setup.draft_cost = 0.2;
    setup.target_us.assign(96, kStep);
    const double short_texts = gain(setup);
    setup.n_tokens = 1'000;
    CHECK(short_texts > 0.75 * gain(setup));
  }
}

TEST_CASE("a crowd learns what steps cost where nothing was measured, and then speculates") {
  for (const int n : {2, 4, 8}) {
    CAPTURE(n);
    Setup setup;
    setup.n_parallel = setup.n_clients = n;
    setup.n_tokens = 1'000;
    const double measured = gain(setup);
    REQUIRE(measured > 1.2);
    setup.measured = false;
    CHECK(gain(setup) > 0.85 * measured);
    setup.draft_cost = 0.8;  // where it does not pay, learning costs little
    setup.slowdown = 2.0;
    CHECK(gain(setup) > 0.97);
  }
}

TEST_CASE("auto beside others is nowhere slower than batches of single tokens") {
  Sweep sweep;
  for (const int n : {2, 4, 8}) {
    for (const double alpha : {0.3, 0.6, 0.8}) {
      for (const double draft_cost : {0.05, 0.4, 0.8}) {
        for (const double slowdown : {1.0, 1.4, 2.0}) {
          if (sweep.skips()) continue;
          Setup setup;
          setup.n_parallel = n;
          setup.n_clients = n;
          setup.n_tokens = 1'000;
          setup.alpha = alpha;
          setup.draft_cost = draft_cost;
          setup.slowdown = slowdown;
          CAPTURE(n);
          CAPTURE(alpha);
          CAPTURE(draft_cost);
          CAPTURE(slowdown);
          CHECK(gain(setup) >= 0.98);
        }
      }
    }
  }
}

TEST_CASE("beside others, drafts from texts are nowhere slower than batches of single tokens") {
  // 8-bit weights on a small CPU: a second row is dear, further ones cost half a step.
  std::vector<double> dear;
  for (int n = 0; n < 96; ++n) dear.push_back(kStep * (n == 0 ? 1.0 : 2.2 + 0.42 * n));
  Sweep sweep;
  for (const int n : {2, 4, 8, 16}) {
    for (const double rate : {0.3, 0.7, 0.9}) {
      for (const double alpha : {-1.0, 0.2, 0.8}) {  // negative: no draft model
        for (const bool is_dear : {false, true}) {
          if (sweep.skips()) continue;
          Setup setup;
          setup.n_parallel = setup.n_clients = n;
          setup.copy_rate = rate;
          setup.alpha = std::max(0.0, alpha);
          setup.has_draft = alpha >= 0.0;
          if (is_dear) setup.target_us = dear;
          CAPTURE(n);
          CAPTURE(rate);
          CAPTURE(alpha);
          CAPTURE(is_dear);
          CHECK(gain(setup) >= 0.97);
        }
      }
    }
  }
}

TEST_CASE("beside others, texts that repeat themselves gain without a draft model") {
  for (const int n : {2, 4, 8}) {
    Setup setup;
    setup.n_parallel = setup.n_clients = n;
    setup.copy_rate = 0.9;
    setup.has_draft = false;
    CAPTURE(n);
    CHECK(gain(setup) >= 1.3);
  }
}

TEST_CASE("each row costs as much as a batch: auto leaves the draft alone") {
  Setup setup;
  for (int n = 0; n < 96; ++n) setup.target_us[static_cast<std::size_t>(n)] = kStep * (n + 1);
  CHECK(gain(setup) >= 0.99);
}

TEST_CASE("one text looks at a new draft for all of a crowd: it reads one prompt, not all") {
  for (const int n_clients : {4, 8}) {
    CAPTURE(n_clients);
    Setup setup;  // a small machine, on which this draft does not pay
    setup.n_clients = n_clients;
    setup.n_prompt = 200;
    setup.n_tokens = 96;
    setup.draft_cost = 0.4;
    setup.draft_prompt = 0.25;
    setup.slowdown = 1.9;
    setup.target_us.clear();
    for (int n = 0; n < 96; ++n) setup.target_us.push_back(kStep * (1.0 + 0.33 * n));
    CHECK(gain(setup) > 0.99);  // with its looks at the draft
  }
}

TEST_CASE("a long prompt delays running texts by one chunk at most") {
  Setup setup;
  std::vector<VirtualClient> clients;
  for (int i = 0; i < 4; ++i) {
    VirtualClient client;
    client.request.mode = Mode::kAuto;
    client.request.prompt.assign(i < 3 ? 16 : 8'000, i);
    client.request.max_tokens = i < 3 ? 400 : 4;
    client.arrival_us = i < 3 ? 0 : 500'000;
    clients.push_back(std::move(client));
  }
  const VirtualCrowd crowd = run(setup, std::move(clients));
  const VirtualText& late = crowd.texts[3];
  CHECK(late.start_us == 500'000);
  // The longest batch that the composer can buy, one chunk, and the hops between them.
  const double bound = setup.target_us.back() + kPromptToken * kChunk + 100.0;
  int n_beside = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<std::int64_t>& us = crowd.texts[i].token_us;
    for (std::size_t k = 1; k < us.size(); ++k) {
      CHECK(static_cast<double>(us[k] - us[k - 1]) <= bound);
      if (us[k] > late.start_us && us[k] < late.token_us.front()) ++n_beside;
    }
  }
  CHECK(n_beside > 50);
  // And they delay it by one batch for each of its chunks at most.
  const double n_chunks = std::ceil(8'000.0 / kChunk) + 1.0;
  CHECK(static_cast<double>(late.token_us.front() - late.start_us) <= n_chunks * bound);
}

TEST_CASE("batches that are computed in parts do not make the costs of a crowd wrong") {
  constexpr int kTexts = 3;
  FakeOptions fake;
  fake.n_vocab = 12;
  fake.whole_states = true;
  fake.n_target_seq = kTexts;
  const auto target = make_fake_target(fake);
  fake.whole_states = false;
  fake.n_seq = 8 * kTexts;
  fake.alignment = 0.9;
  const auto draft = make_fake_draft(fake);
  const auto us = [](int n) { return 20'000 + 500 * n; };
  PairProfile profile;
  for (int n = 1; n <= 17; ++n) profile.costs.target_us.push_back(us(n));
  profile.costs.draft_us.assign(17, 500.0);
  int n_in_parts = 0;
  VirtualOptions options;
  options.profile = &profile;
  options.target_us = [&](const Command& command) -> std::int64_t {
    const auto* verify = std::get_if<VerifyCommand>(&command.body);
    if (verify == nullptr) return 100;
    // Each part has as many rows of every text that has some left.
    std::vector<int> rows;
    for (const Segment& one : verify->segments) rows.push_back(static_cast<int>(one.rows.size()));
    std::ranges::sort(rows);
    std::int64_t sum = 0;
    int done = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] == done) continue;
      if (done > 0) ++n_in_parts;
      sum += us((rows[i] - done) * static_cast<int>(rows.size() - i));
      done = rows[i];
    }
    return sum;
  };
  std::vector<VirtualClient> clients(kTexts);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i].request.prompt = {static_cast<Token>(i), 2};
    clients[i].request.max_tokens = 300;
  }
  run_crowd(std::move(clients), *target, draft.get(), options, kTexts);
  CHECK(n_in_parts > 20);
  for (int n = 1; n <= 17; ++n) {
    CAPTURE(n);
    CHECK(profile.costs.target_us[static_cast<std::size_t>(n) - 1] ==
          doctest::Approx(us(n)).epsilon(0.05));
  }
}

TEST_CASE("a batch of several texts that is padded stays padded") {
  constexpr int kTexts = 10;
  FakeOptions fake;
  fake.n_target_seq = kTexts;
  const auto target = make_fake_target(fake);
  const auto us = [](int n) { return n == 9 ? 1'400 : 900 + 10 * n; };
  PairProfile profile;
  for (int n = 1; n <= 16; ++n) profile.costs.target_us.push_back(us(n));
  int n_of_nine = 0;
  int n_padded = 0;
  VirtualOptions options;
  options.profile = &profile;
  options.target_us = [&](const Command& command) -> std::int64_t {
    const auto* verify = std::get_if<VerifyCommand>(&command.body);
    if (verify == nullptr) return 100;
    if (verify->segments.size() == 9) {
      ++n_of_nine;
      if (verify->n_pad == 1) ++n_padded;
    }
    return us(verify->n_tokens());
  };
  // Short texts come and go beside eight long ones, so that batches of eight, nine and ten are
  // seen.
  std::vector<VirtualClient> clients(300);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i].request.mode = Mode::kAutoregressive;
    clients[i].request.prompt = {1, 2};
    clients[i].request.max_tokens = i < 8 ? 400 : 2 + static_cast<int>(i % 5);
  }
  run_crowd(std::move(clients), *target, nullptr, options, kTexts);
  CHECK(n_of_nine > 100);
  CHECK(n_padded == n_of_nine);
}

TEST_CASE("a client without a place waits for the first one that is free") {
  Setup setup;
  setup.n_parallel = 2;
  setup.n_clients = 3;
  setup.n_tokens = 50;
  const VirtualCrowd crowd = run(setup);
  CHECK(crowd.texts[0].start_us == 0);
  CHECK(crowd.texts[1].start_us == 0);
  CHECK(crowd.texts[2].start_us == std::min(crowd.texts[0].end_us, crowd.texts[1].end_us));
}
