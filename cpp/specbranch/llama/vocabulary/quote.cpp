#include "specbranch/llama/vocabulary/quote.h"

#include <cstddef>

#include "specbranch/llama/vocabulary/utf8_state.h"

namespace specbranch::llama {
namespace {

constexpr std::size_t kMostBytes = 48;

/// The bytes of the character at the begin of `text`; 0: no UTF-8 begins there.
std::size_t character_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return text.size() >= n && Utf8State().append(text.substr(0, n)) ? n : 0;
}

/// C0, DEL and C1 (Unicode 15.0, table 23-1), and the character that begins an escape.
bool needs_escape(std::string_view character) {
  const auto byte = static_cast<unsigned char>(character.front());
  if (character.size() == 1) return byte < 0x20 || byte == 0x7F || byte == '\\';
  return byte == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

void append_escaped(std::string& out, std::string_view bytes) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += kHex[byte >> 4U];
    out += kHex[byte & 0xFU];
  }
}

}  // namespace

std::string quote(std::string_view text) {
  std::string out = "'";
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t n = character_length(text.substr(i));
    const std::string_view character = text.substr(i, n == 0 ? 1 : n);
    if (i + character.size() > kMostBytes && text.size() > kMostBytes) break;
    if (n == 0 || needs_escape(character)) {
      append_escaped(out, character);
    } else {
      out += character;
    }
    i += character.size();
  }
  if (i == text.size()) return out + "'";
  return out + "...' (" + std::to_string(text.size()) + " bytes)";
}

}  // namespace specbranch::llama
