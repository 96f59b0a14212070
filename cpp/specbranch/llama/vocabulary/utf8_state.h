/// Whether bytes go on as UTF-8.
#pragma once

#include <cstdint>
#include <string_view>

namespace specbranch::llama {

/// How far a text that arrives in pieces is within a character.
///
/// *Thread safety:* a plain value.
class Utf8State {
 public:
  /// False, and unchanged, if no UTF-8 begins with what was appended before and `bytes` after it
  /// (Unicode 15.0, table 3-7). A character may be left incomplete.
  bool append(std::string_view bytes) noexcept;

 private:
  bool next(std::uint8_t byte) noexcept;

  std::uint8_t n_left_ = 0;  ///< bytes that the character still needs.
  std::uint8_t low_ = 0x80;  ///< range of the next one.
  std::uint8_t high_ = 0xBF;
};

}  // namespace specbranch::llama
