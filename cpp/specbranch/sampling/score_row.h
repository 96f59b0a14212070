/// One row of scores over a vocabulary, with the largest score of every block of tokens.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// A token with its score (a logit after the whole sampler chain; any common offset cancels).
struct Scored {
  Token token = 0;
  float score = 0.0F;
};

/// Order of scores: the largest first, the lowest id first among equal ones.
struct BetterScore {
  bool operator()(const Scored& a, const Scored& b) const {
    return a.score > b.score || (a.score == b.score && a.token < b.token);
  }
};

/// Most questions about a row concern its few largest scores. Whole blocks are skipped by their
/// largest score, so that an answer costs one quick pass over the row and little more.
///
/// *Lifecycle:* a view; the scores must not change meanwhile.
class ScoreRow {
 public:
  static constexpr std::size_t kBlock = 64;  ///< tokens of a block; the last one may be shorter.

  /// Throws DecodeError if a score is NaN.
  explicit ScoreRow(std::span<const float> scores);

  std::span<const float> scores() const { return scores_; }
  std::size_t size() const { return scores_.size(); }
  float score(Token token) const { return scores_[static_cast<std::size_t>(token)]; }

  /// The largest score; -inf if there is none.
  float top() const { return top_; }

  std::size_t n_blocks() const { return maxima_.size(); }
  float maximum(std::size_t block) const { return maxima_[block]; }
  std::span<const float> block(std::size_t block) const;
  static Token first_of(std::size_t block) { return static_cast<Token>(block * kBlock); }

  /// The token of the largest score, the lowest id of several; -1 if all are -inf.
  Token best() const;

  /// The `k` largest, best first.
  std::vector<Scored> largest(int k) const;

  /// All of at least `least`, in order of id.
  std::vector<Scored> at_least(float least) const;

 private:
  std::span<const float> scores_;
  std::vector<float> maxima_;
  float top_;
};

}  // namespace specbranch
