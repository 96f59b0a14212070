#include "specbranch/llama/vocabulary/utf8_state.h"

namespace specbranch::llama {

bool Utf8State::append(std::string_view bytes) noexcept {
  Utf8State after = *this;
  for (const char c : bytes) {
    if (!after.next(static_cast<std::uint8_t>(c))) return false;
  }
  *this = after;
  return true;
}

bool Utf8State::next(std::uint8_t byte) noexcept {
  if (n_left_ > 0) {
    if (byte < low_ || byte > high_) return false;
    low_ = 0x80;
    high_ = 0xBF;
    --n_left_;
    return true;
  }
  if (byte < 0x80) return true;
  if (byte < 0xC2 || byte > 0xF4) return false;
  n_left_ = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
  // No character has two spellings, none is a surrogate or past U+10FFFF.
  low_ = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
  high_ = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
  return true;
}

}  // namespace specbranch::llama
