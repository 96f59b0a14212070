/// Texts from files, for messages.
#pragma once

#include <string>
#include <string_view>

namespace specbranch::llama {

/// `text` in quotes. Control characters, backslashes and bytes that are no UTF-8 are written as
/// `\x0a`. Of a text of more than 48 bytes, only the begin is left, and its length follows.
std::string quote(std::string_view text);

}  // namespace specbranch::llama
