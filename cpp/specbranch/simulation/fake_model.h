/// Programmable models without weights, for tests and simulation.
///
/// A fake text model gives every context (hash of the last tokens) a distribution over a small
/// vocabulary. The draft's is a noisy copy of the target's: `alignment` 1 is the target itself.
/// Both compute from what their KV really holds, so a wrong fork or a stale cell changes their
/// answers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "specbranch/model/model.h"

namespace specbranch {

struct FakeOptions {
  int n_vocab = 32;
  Pos n_ctx = 512;
  int n_seq = 8;         ///< draft only.
  int n_target_seq = 1;  ///< target only: sessions that may be open at once.
  int n_branches = 0;    ///< target only: branches of one verification.
  bool warms_up = false;
  Pos n_ctx_total = 0;  ///< of the target: positions that all texts may have; 0: no limit.
  int max_batch = 64;
  int prefill_chunk = 128;
  /// Target only: it rolls back as a recurrent model does, so many tokens of its last verification
  /// at most, once, and reuses no prefix. Anything else corrupts its state without a word, as
  /// llama.cpp does. Negative: it rolls back anywhere.
  int max_rollback = -1;
  /// It is recurrent, and its sequences are copied and dropped as a whole (Rollback::kCopies). Not
  /// together with `max_rollback`.
  bool whole_states = false;
  std::uint64_t model_seed = 1;  ///< of the target's distributions.
  double alignment = 0.8;  ///< draft only: weight of the target's scores against noise of its own.
  double sharpness = 3.0;  ///< spread of the scores: larger is more certain.
  int end_every = 0;       ///< target: about one context in so many ends the text; 0: none.
  /// Of so many positions of a text the first `forced_length` allow one token only, as a grammar
  /// does; 0: none. The draft does not know it.
  int forced_every = 0;
  int forced_length = 0;
  std::int64_t step_us = 0;  ///< real time that a forward pass takes (sleeps); 0: none.
  std::int64_t fail_at_step =
      -1;                     ///< this pass or prefill chunk throws DecodeError; negative: none.
  bool fail_fatally = false;  ///< ... throws std::runtime_error instead (an escaped exception).
  Pos nan_from = -1;  ///< of a text: the target has no scores from here on; negative: it has.
  int n_feature_layers = 6;  ///< target: layers whose inputs it can give (see fake_features).
};

/// Scores of the next token after `context`; both fakes and the tests' reference decoder use it.
std::vector<float> fake_scores(const FakeOptions& options, std::span<const Token> context,
                               double alignment);

/// The only token that is allowed at `pos` of a text; none: all are.
std::optional<Token> fake_forced(const FakeOptions& options, Pos pos);

/// Width of the fake target's features.
inline constexpr int kFakeEmbd = 4;

/// What the fake target's features are after `context` (at least one token) when `next` was chosen.
/// Each of the `n_layers` rows: the last token's position, that token, the layer's number counted
/// from the end (1: the last one), and a number in [0, 1) that depends on the whole context. Then
/// the embedding of `next`: the token, its square, its half, and 1.
std::vector<float> fake_features(const FakeOptions& options, std::span<const Token> context,
                                 Token next, int n_layers);

std::unique_ptr<TargetModel> make_fake_target(const FakeOptions& options);
std::unique_ptr<DraftModel> make_fake_draft(const FakeOptions& options);

}  // namespace specbranch
