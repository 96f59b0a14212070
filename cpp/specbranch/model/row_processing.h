/// The part of a verification in which functions of the caller have a say.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "specbranch/model/model.h"

namespace specbranch {

/// Tells the channel of `request` which of the tokens after `text` will be verified, so that it may
/// begin. `text` has the last committed token, after which `segment` has drafted ones, up to the
/// first that `ends` the text.
void announce(const Request& request, std::span<const Token> text, const Segment& segment,
              const std::function<bool(Token)>& ends);

/// Lets the functions of `request` edit the logits for the choice after those of `result`;
/// `processed` gets them. False: the text ends here, or a function has failed, as `result` then
/// says. Throws Aborted.
bool process_row(const Request& request, std::span<const float> logits,
                 std::vector<float>& processed, SegmentResult& result,
                 const std::function<bool()>& aborting);

}  // namespace specbranch
