#include "specbranch/model/row_processing.h"

#include <algorithm>
#include <exception>
#include <iterator>

#include "specbranch/base/errors.h"
#include "specbranch/base/processor_channel.h"

namespace specbranch {

void announce(const Request& request, std::span<const Token> text, const Segment& segment,
              const std::function<bool(Token)>& ends) {
  const auto committed = std::ranges::find_if(segment.rows, &Row::wanted);
  std::vector<Token> drafted;
  for (auto row = std::next(committed); row != segment.rows.end() && !ends(row->token); ++row) {
    drafted.push_back(row->token);
  }
  request.processors->begin(text, drafted);
}

bool process_row(const Request& request, std::span<const float> logits,
                 std::vector<float>& processed, SegmentResult& result,
                 const std::function<bool()>& aborting) {
  ProcessorChannel& processors = *request.processors;
  const std::int64_t before_us = processors.counts().wait_us;
  try {
    const std::size_t index = result.verification.choices.size();
    result.verification.exhausted = !processors.process(index, logits, processed, aborting);
  } catch (const Aborted&) {
    throw;
  } catch (const Error&) {
    result.verification.error = std::current_exception();
    return false;
  }
  result.waited_us += processors.counts().wait_us - before_us;
  return !result.verification.exhausted;
}

}  // namespace specbranch
