#include "specbranch/llama/vocabulary/utf8_state.h"

#include <doctest/doctest.h>

#include <string>

namespace specbranch::llama {
namespace {

TEST_CASE("every character is UTF-8, in one piece or in bytes") {
  const auto spelled = [](char32_t c) {
    const auto byte = [](char32_t value) { return static_cast<char>(value); };
    if (c < 0x80) return std::string{byte(c)};
    if (c < 0x800) return std::string{byte(0xC0 | c >> 6U), byte(0x80 | (c & 0x3FU))};
    if (c < 0x10000) {
      return std::string{byte(0xE0 | c >> 12U), byte(0x80 | (c >> 6U & 0x3FU)),
                         byte(0x80 | (c & 0x3FU))};
    }
    return std::string{byte(0xF0 | c >> 18U), byte(0x80 | (c >> 12U & 0x3FU)),
                       byte(0x80 | (c >> 6U & 0x3FU)), byte(0x80 | (c & 0x3FU))};
  };
  int n_wrong = 0;
  for (char32_t c = 0; c < 0x110100; ++c) {
    const bool valid = c < 0x110000 && (c < 0xD800 || c > 0xDFFF);
    const std::string text = spelled(c);
    Utf8State whole;
    n_wrong += whole.append(text + "a") == valid ? 0 : 1;
    Utf8State bytes;
    bool good = true;
    for (const char b : text) good = good && bytes.append({&b, 1});
    n_wrong += (good && bytes.append("a")) == valid ? 0 : 1;
  }
  CHECK(n_wrong == 0);
}

TEST_CASE("bytes that go on as no UTF-8 change nothing") {
  Utf8State text;
  CHECK(text.append("a\xE6"));
  for (const char* wrong : {"W", "\xE6", "\x97\xE6", "\x97W", "\x97\xA5\x80"}) {
    CAPTURE(wrong);
    CHECK(!text.append(wrong));
  }
  CHECK(text.append("\x97\xA5"));
  for (const char* wrong : {"\x80", "\xC0\x80", "\xC1", "\xE0\x9F", "\xF5", "\xFF", "\xF0\x8F"}) {
    CHECK(!text.append(wrong));
  }
  CHECK(text.append("b\xF0\x9F\x98"));
  CHECK(text.append("\x80"));
}

}  // namespace
}  // namespace specbranch::llama
