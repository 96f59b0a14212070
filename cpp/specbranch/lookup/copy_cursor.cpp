#include "specbranch/lookup/copy_cursor.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>

namespace specbranch {
namespace {

constexpr int kFound = 4;    ///< copied tokens in a row that end a loss.
constexpr Pos kDropped = 8;  ///< tokens that the copy may leave out.

}  // namespace

void CopyCursor::step(std::span<const Token> text, Token token) {
  if (next < 0) return;
  const auto n_text = static_cast<Pos>(text.size());
  if (next < n_text && text[static_cast<std::size_t>(next)] == token) {
    ++next;
    ++length;
    if (length >= kFound) n_lost = 0;
    return;
  }
  if (n_lost == 0) begin = next;
  if (++n_lost > kMostLost) {
    *this = {};
    return;
  }
  // The nearest such token, measured from where the copy would be if tokens were only replaced.
  const Pos expected = begin + n_lost;
  const Pos end = std::min(expected + kDropped, n_text);
  Pos found = -1;
  for (Pos pos = begin; pos < end; ++pos) {
    if (text[static_cast<std::size_t>(pos)] != token) continue;
    if (found < 0 || std::abs(pos + 1 - expected) <= std::abs(found + 1 - expected)) found = pos;
  }
  next = found >= 0 ? found + 1 : std::min(expected, n_text);
  length = found >= 0 ? 1 : 0;
}

}  // namespace specbranch
