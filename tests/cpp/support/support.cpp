#include "support/support.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <sstream>

#include "specbranch/planner/auto/auto_planner.h"
#include "specbranch/sampling/noise.h"

namespace specbranch::test {

std::uint64_t Random::next() {
  std::uint64_t x = state_ += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

double Random::uniform() { return static_cast<double>(next() >> 11U) * 0x1p-53; }

int Random::between(int low, int high) {
  const auto n = static_cast<std::uint64_t>(high - low + 1);
  return low + static_cast<int>(next() % n);
}

namespace {

double test_scale() {
  const char* text = std::getenv("SPECBRANCH_TEST_SCALE");  // NOLINT(concurrency-mt-unsafe)
  return text != nullptr ? std::strtod(text, nullptr) : 1.0;
}

}  // namespace

int scaled(int n) { return std::max(1, static_cast<int>(static_cast<double>(n) * test_scale())); }

Sweep::Sweep() : share_(test_scale()) {}

bool Sweep::skips() {
  if (due_ < 1.0) {
    due_ += share_;
    return true;
  }
  due_ += share_ - 1.0;
  return false;
}

namespace {

void draw_request(Random& random, Scenario& s) {
  Request& request = s.request;
  const int n_prompt = random.between(1, 6);
  for (int i = 0; i < n_prompt; ++i) {
    request.prompt.push_back(random.between(0, s.target.n_vocab - 1));
  }
  request.max_tokens = random.pick({0, 1, 2, 3, 6, 16, 20, 24, 24, 24});
  if (random.chance(0.1)) request.max_tokens = -1;
  if (random.chance(0.2) || request.max_tokens < 0) {
    s.target.n_ctx = n_prompt + random.between(1, 24);
  }
  request.sampling.temperature = random.pick({0.0F, 0.0F, 0.5F, 1.0F, 1.0F, 2.0F});
  request.sampling.seed = random.next();
  if (random.chance(0.2)) {
    for (int i = 0; i < 3; ++i) {
      request.sampling.logit_bias[random.between(0, s.target.n_vocab - 1)] =
          random.pick({-INFINITY, -2.0F, 1.5F, 4.0F});
    }
    // Something must stay allowed.
    request.sampling.logit_bias[0] = 1.0F;
  }
  request.max_draft = random.between(1, 9);
  request.max_branches = random.between(1, 8);
  request.policy.epsilon = random.pick({0.0, 0.2, 0.4, 0.4, 0.6, 0.9, 1.0});
  if (random.chance(0.2)) {
    request.policy.kind = PolicyOptions::Kind::kFixed;
    request.policy.gamma = random.between(1, 12);
  }
}

}  // namespace

Scenario make_scenario(std::uint64_t seed) {
  Random random(seed);
  Scenario s;
  s.seed = seed;
  s.target.n_vocab = random.pick({2, 5, 8, 12});
  s.target.n_ctx = 64;
  s.target.model_seed = random.next();
  s.target.sharpness = random.pick({0.3, 1.0, 3.0});
  s.target.end_every = random.pick({0, 0, 0, 8, 25});
  s.target.max_batch = random.pick({64, 64, 64, 4, 2, 1});
  draw_request(random, s);
  Random chunks(seed + 0x9E37);  // of its own: scenarios are older than chunks
  s.target.prefill_chunk = chunks.pick({128, 128, 1, 2, 3});
  s.draft = s.target;
  s.draft.n_ctx = 64;
  s.draft.prefill_chunk = chunks.pick({128, 128, 1, 2, 5});
  s.draft.alignment = random.pick({0.0, 0.3, 0.6, 0.8, 0.95, 1.0});
  s.draft.n_seq = random.pick({1, 2, 3, 4, 9, 33});
  const auto n_prompt = static_cast<Pos>(s.request.prompt.size());
  if (random.chance(0.15)) s.draft.n_ctx = std::max(1, n_prompt + random.between(-1, 12));
  if (random.chance(0.1)) s.draft.n_vocab = random.between(1, s.target.n_vocab);
  return s;
}

Scenario make_perfect_scenario(std::uint64_t seed) {
  Scenario s = make_scenario(seed);
  const int n_seq = s.draft.n_seq;
  s.draft = s.target;
  s.draft.alignment = 1.0;
  s.draft.n_seq = n_seq;
  return s;
}

const Segment& segment_of(const VerifyCommand& verify) {
  REQUIRE(verify.segments.size() == 1);
  return verify.segments.front();
}

std::vector<Token> path_of(const VerifyCommand& verify) {
  std::vector<Token> path;
  for (const Row& row : segment_of(verify).rows) path.push_back(row.token);
  return path;
}

std::string describe(const Scenario& s) {
  std::ostringstream out;
  const Request& r = s.request;
  out << "scenario seed " << s.seed << ": mode " << to_string(r.mode) << ", prompt of "
      << r.prompt.size() << ", max_tokens " << r.max_tokens << ", T " << r.sampling.temperature
      << ", biases " << r.sampling.logit_bias.size() << ", max_draft " << r.max_draft
      << ", max_branches " << r.max_branches << ", "
      << (r.policy.kind == PolicyOptions::Kind::kFixed
              ? "gamma " + std::to_string(r.policy.gamma)
              : "epsilon " + std::to_string(r.policy.epsilon))
      << "; target: vocab " << s.target.n_vocab << ", ctx " << s.target.n_ctx << ", batch "
      << s.target.max_batch << ", ends " << s.target.end_every << ", chunk "
      << s.target.prefill_chunk << "; draft: vocab " << s.draft.n_vocab << ", ctx " << s.draft.n_ctx
      << ", seqs " << s.draft.n_seq << ", chunk " << s.draft.prefill_chunk << ", alignment "
      << s.draft.alignment;
  return out.str();
}

VirtualResult run(const Scenario& scenario, Mode mode, const VirtualOptions& options,
                  std::unique_ptr<Planner> planner) {
  Request request = scenario.request;
  request.mode = mode;
  const auto target = make_fake_target(scenario.target);
  const auto draft = make_fake_draft(scenario.draft);
  return run_virtually(request, *target, draft.get(), options, std::move(planner));
}

std::unique_ptr<Planner> make_eager_auto(const Request& request, PairProfile* profile) {
  AutoBounds bounds = auto_bounds(request);
  bounds.switching = false;
  return std::make_unique<AutoPlanner>(bounds, request.sampling.temperature, profile);
}

PairProfile flat_profile() {
  PairProfile profile;
  profile.costs.target_us.assign(64, 1000.0);
  profile.costs.draft_us.assign(32, 100.0);
  return profile;
}

SyntheticOptions synthetic_pair(double alpha, std::uint64_t seed) {
  SyntheticOptions pair;
  pair.alpha = alpha;
  pair.seed = seed;
  pair.text_begin = 3;
  return pair;
}

Request auto_request(int n_tokens, int max_draft, int max_branches) {
  Request request;
  request.prompt = {1, 2, 3};
  request.max_tokens = n_tokens;
  request.mode = Mode::kAuto;
  request.max_draft = max_draft;
  request.max_branches = max_branches;
  return request;
}

VirtualOptions shuffled(std::uint64_t seed) {
  VirtualOptions options;
  options.order = DeliveryOrder::kShuffled;
  options.shuffle_seed = seed;
  return options;
}

Expected reference(const Scenario& scenario) {
  const Request& request = scenario.request;
  if (scenario.target.end_every > 0) {
    const VirtualResult result = run(scenario, Mode::kAutoregressive);
    return {result.tokens, result.finish};
  }
  const SamplingOptions& sampling = request.sampling;
  std::vector<Token> text = request.prompt;
  std::size_t limit = static_cast<std::size_t>(scenario.target.n_ctx);
  if (request.max_tokens >= 0) {
    limit = std::min(limit, text.size() + static_cast<std::size_t>(request.max_tokens));
  }
  Finish finish = Finish::kLength;
  while (text.size() < limit) {
    std::vector<float> scores = fake_scores(scenario.target, text, 1.0);
    for (const auto& [token, bias] : sampling.logit_bias) {
      scores[static_cast<std::size_t>(token)] += bias;
    }
    const PositionNoise noise(sampling.seed, static_cast<Pos>(text.size()));
    const bool may_end =
        text.size() >= request.prompt.size() + static_cast<std::size_t>(request.min_tokens);
    const auto only = fake_forced(scenario.target, static_cast<Pos>(text.size()));
    Token best = -1;
    double best_value = -INFINITY;
    for (Token token = 0; token < scenario.target.n_vocab; ++token) {
      if (only && token != *only) continue;
      if (!may_end && request.is_stop(token)) continue;
      const float score = scores[static_cast<std::size_t>(token)];
      double value = static_cast<double>(score);
      if (sampling.temperature > 0) {
        value = static_cast<double>(score / sampling.temperature) + noise.gumbel(token);
      }
      if (value > best_value) {
        best = token;
        best_value = value;
      }
    }
    if (best < 0 || request.is_stop(best)) {
      finish = Finish::kStop;
      break;
    }
    text.push_back(best);
  }
  text.erase(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(request.prompt.size()));
  return {text, finish};
}

bool is_prefix(const std::vector<Token>& text, const std::vector<Token>& whole) {
  return text.size() <= whole.size() && std::equal(text.begin(), text.end(), whole.begin());
}

std::string message_of(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "not a std::exception";
  }
}

void check_counters(const Counters& c, Mode mode, Finish finish) {
  CHECK(c.n_drafted == c.n_accepted + c.n_rolled_back + c.n_unresolved);
  CHECK(c.n_all_drafted >= c.n_drafted);
  CHECK(c.n_accepted <= c.n_generated);
  CHECK(c.n_rolled_back >= 0);
  CHECK(c.n_unresolved >= 0);
  CHECK(c.n_draft_lanes >= c.n_draft_steps);
  CHECK(c.n_tree_steps <= c.n_target_steps);
  CHECK(c.n_tree_steps <= c.n_branch_verified);
  CHECK((c.n_branch_verified > 0) == (c.n_tree_steps > 0));
  CHECK(c.n_branches_taken <= c.n_tree_steps);
  CHECK(c.n_branches_taken <= c.n_branch_accepted);
  CHECK((c.n_branch_accepted > 0) == (c.n_branches_taken > 0));
  CHECK(c.n_branch_accepted <= std::min(c.n_accepted, c.n_branch_verified));
  const bool whole = finish == Finish::kStop || finish == Finish::kLength;
  // Every verification commits the target's own token, but for one that finds an end.
  if (finish == Finish::kLength) CHECK(c.n_generated >= c.n_target_steps);
  if (finish == Finish::kStop) CHECK(c.n_generated >= c.n_target_steps - 1);
  if (mode == Mode::kAutoregressive) {
    CHECK(c.n_drafted == 0);
    CHECK(c.n_all_drafted == 0);
    CHECK(c.n_draft_steps == 0);
    CHECK(c.branch_hits + c.branch_misses == 0);
    CHECK(c.acceptance_histogram.empty());
    if (finish == Finish::kLength) CHECK(c.n_generated == c.n_target_steps);
    return;
  }
  const auto& histogram = c.acceptance_histogram;
  const auto n_verifications = std::accumulate(histogram.begin(), histogram.end(), std::int64_t{0});
  std::int64_t n_on_path = 0;
  for (std::size_t i = 0; i < histogram.size(); ++i) {
    n_on_path += static_cast<std::int64_t>(i) * histogram[i];
  }
  CHECK(n_verifications <= c.n_target_steps);
  if (whole) CHECK(n_verifications == c.n_target_steps);
  CHECK(c.n_accepted == n_on_path + c.branch_hits);
  CHECK(c.branch_hits + c.branch_misses <= n_verifications);
  // A miss rejects something. A step after which nothing was drafted is neither a hit nor a miss.
  CHECK(c.branch_misses <= c.n_rolled_back);
  CHECK(c.n_generated >= c.n_accepted + c.branch_misses);
  CHECK(c.n_generated <= c.n_accepted + n_verifications - c.branch_hits);
}

void check_result(const VirtualResult& result, Mode mode) {
  check_counters(result.counters, mode, result.finish);
  CHECK(result.counters.n_generated == static_cast<std::int64_t>(result.tokens.size()));
  CHECK(result.from_draft.size() == result.tokens.size());
  if (mode != Mode::kAutoregressive) {
    CHECK(result.counters.n_accepted ==
          std::count(result.from_draft.begin(), result.from_draft.end(), true));
  }
  CHECK(result.overlap_us <= std::min(result.target_us, result.draft_us));
  CHECK(result.target_us + result.draft_us - result.overlap_us <= result.time_us);
}

void check_cancels(const Scenario& scenario, Mode mode,
                   const std::function<std::unique_ptr<Planner>(std::uint64_t run)>& planner) {
  INFO(describe(scenario));
  const Expected expected = reference(scenario);
  const auto target = make_fake_target(scenario.target);
  const auto draft = make_fake_draft(scenario.draft);
  for (std::uint64_t run = 0; run < 4; ++run) {
    CAPTURE(run);
    VirtualOptions options = shuffled(scenario.seed + run);
    if (run < 3) {
      options.cancel_after_events = static_cast<std::int64_t>(1 + (scenario.seed + 5 * run) % 17);
    }
    const VirtualResult got =
        run_virtually(scenario.request, *target, draft.get(), options, planner(run));
    CHECK(message_of(got.error) == "");
    CHECK(is_prefix(got.tokens, expected.tokens));
    if (got.finish != Finish::kCancelled) CHECK(got.tokens == expected.tokens);
    check_result(got, mode);
  }
}

}  // namespace specbranch::test
