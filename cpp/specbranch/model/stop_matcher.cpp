#include "specbranch/model/stop_matcher.h"

#include <algorithm>
#include <iterator>
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

/// The bytes of it with which a text ends that ended with `n_matched` of them before `byte`.
std::size_t StopMatcher::Stop::matched_after(std::size_t n_matched, char byte) const {
  if (n_matched == text.size()) n_matched = borders[n_matched];
  while (n_matched > 0 && text[n_matched] != byte) n_matched = borders[n_matched];
  if (text[n_matched] == byte) ++n_matched;
  return n_matched;
}

StopMatcher::StopMatcher(std::vector<std::string> stops, int n_free)
    : stops_(std::make_shared<const std::vector<Stop>>(std::make_move_iterator(stops.begin()),
                                                       std::make_move_iterator(stops.end()))),
      n_matched_(stops.size()),
      n_free_(n_free) {}

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
  for (std::size_t k = 0; k < stops_->size(); ++k) {
    const Stop& stop = (*stops_)[k];
    std::size_t& n_matched = n_matched_[k];
    for (std::size_t i = 0; i < piece.size(); ++i) {
      n_matched = stop.matched_after(n_matched, piece[i]);
      if (n_matched < stop.text.size()) continue;
      const std::size_t begin = n_before + i + 1 - stop.text.size();
      if (begin < cut) {
        cut = begin;
        found = &stop;
      }
      break;
    }
    n_kept = std::max(n_kept, n_matched);
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
