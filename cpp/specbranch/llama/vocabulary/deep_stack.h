/// Calls that recurse deeply for some inputs.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

namespace specbranch::llama {

/// Bytes of the longest part of `text` that a pre-tokenizer could take as one piece: letters (bytes
/// beyond ASCII count as such), digits, blanks, or other signs, in a row.
std::size_t longest_run(std::string_view text);

/// Calls `work` on a thread whose stack has that many bytes, and waits for it. Throws what `work`
/// throws, or InvalidArgument if the system has no such thread.
void call_with_stack(std::size_t n_bytes, const std::function<void()>& work);

}  // namespace specbranch::llama
