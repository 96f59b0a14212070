#include "specbranch/model/stop_matcher.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace specbranch {

StopMatcher::Stop::Stop(std::string wanted) : text(std::move(wanted)), borders(text.size() + 1) {
  std::size_t border = 0;
  for (std::size_t n = 1; n < text.size(); ++n) {
    while (border > 0 && text[n] != text[border]) border = borders[border];
    if (text[n] == text[border]) ++border;
    borders[n + 1] = static_cast<std::uint32_t>(border);
  }
}

/// The text goes on with `byte`. True: it ends with the stop string.
bool StopMatcher::Stop::match(char byte) {
  if (n_matched == text.size()) n_matched = borders[n_matched];
  while (n_matched > 0 && text[n_matched] != byte) n_matched = borders[n_matched];
  if (text[n_matched] == byte) ++n_matched;
  return n_matched == text.size();
}

StopMatcher::StopMatcher(std::vector<std::string> stops, int n_free) : n_free_(n_free) {
  stops_.reserve(stops.size());
  for (std::string& stop : stops) stops_.emplace_back(std::move(stop));
}

StopMatcher::Result StopMatcher::append(std::string_view piece) {
  if (n_free_ > 0) {
    --n_free_;
    return {std::string(piece), {}};
  }
  const std::size_t n_before = held_.size();
  held_ += piece;
  // Of those that are complete the first to begin ends the text.
  std::size_t cut = std::numeric_limits<std::size_t>::max();
  const Stop* found = nullptr;
  std::size_t n_kept = 0;  // the longest end of the text that begins a stop string
  for (Stop& stop : stops_) {
    for (std::size_t i = 0; i < piece.size(); ++i) {
      if (!stop.match(piece[i])) continue;
      const std::size_t begin = n_before + i + 1 - stop.text.size();
      if (begin < cut) {
        cut = begin;
        found = &stop;
      }
      break;
    }
    n_kept = std::max(n_kept, stop.n_matched);
  }
  if (found != nullptr) {
    Result result{held_.substr(0, cut), found->text};
    held_.clear();
    return result;
  }
  Result result{held_.substr(0, held_.size() - n_kept), {}};
  held_.erase(0, held_.size() - n_kept);
  return result;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace specbranch
