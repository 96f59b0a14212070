/// Turns committed tokens into bytes and ends the text before a stop string.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace specbranch {

/// A byte costs each stop string a few steps on average, however long both are (Knuth, Morris and
/// Pratt, "Fast pattern matching in strings", 1977).
///
/// *Lifecycle:* `append` piece after piece until it reports a stop, then `finish` once.
class StopMatcher {
 public:
  /// No stop string begins in the first `n_free` pieces.
  explicit StopMatcher(std::vector<std::string> stops, int n_free = 0);

  struct Result {
    std::string bytes;  ///< safe to show: can no longer be part of a stop string.
    std::string stop;   ///< the stop string that is complete; `bytes` ends before it. Empty: none.
  };

  /// Adds the bytes of one token. A stop string may begin and end inside tokens.
  Result append(std::string_view piece);

  /// What was held back, once it is known that no more tokens come.
  std::string finish();

 private:
  struct Stop {
    std::string text;
    /// [n]: of the first n bytes, the longest end that is also a begin, and shorter.
    std::vector<std::uint32_t> borders;

    explicit Stop(std::string wanted);
    std::size_t matched_after(std::size_t n_matched, char byte) const;
  };

  std::shared_ptr<const std::vector<Stop>> stops_;  ///< copies of the matcher share them.
  std::vector<std::size_t> n_matched_;              ///< bytes of each with which the text ends.
  int n_free_;                                      ///< pieces to come that are not searched.
  std::string held_;  ///< bytes that may still turn out to begin a stop string.
};

}  // namespace specbranch
