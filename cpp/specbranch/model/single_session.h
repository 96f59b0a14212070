/// One session at a time on a model that nobody else uses. For tests and benchmarks of a model.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "specbranch/model/model.h"
#include "specbranch/model/prompt_reader.h"

namespace specbranch {

inline constexpr GenerationId kSingleSession = 0;

/// Opens a session on `seqs`, and reads the prompt. Returns how many tokens are reused.
inline int begin(Model& model, GenerationId id, const std::shared_ptr<const Request>& request,
                 std::span<const SeqId> seqs) {
  const int n_reused = model.open(id, request, seqs);
  PromptReader reader(n_reused, static_cast<Pos>(request->prompt.size()) - 1,
                      model.capabilities().prefill_chunk);
  while (const std::optional<PrefillCommand> chunk = reader.next()) {
    model.prefill(id, chunk->begin, chunk->end);
    reader.read(chunk->end);
  }
  return n_reused;
}

/// On sequence 0.
inline int begin(TargetModel& target, const Request& request) {
  const SeqId seq = 0;
  return begin(target, kSingleSession, std::make_shared<const Request>(request),
               std::span(&seq, 1));
}

/// On all sequences of the draft.
inline int begin(DraftModel& draft, const Request& request) {
  std::vector<SeqId> seqs(static_cast<std::size_t>(draft.capabilities().n_seq));
  std::iota(seqs.begin(), seqs.end(), 0);
  return begin(draft, kSingleSession, std::make_shared<const Request>(request), seqs);
}

/// Verifies `path` in the session's sequence 0.
inline Verification verify(TargetModel& target, Pos pos, std::span<const Token> path,
                           int n_pad = 0) {
  const Segment segment = path_segment(kSingleSession, 0, pos, path);
  SegmentResult result = std::move(target.verify(std::span(&segment, 1), n_pad).front());
  if (result.error) std::rethrow_exception(result.error);
  return std::move(result.verification);
}

}  // namespace specbranch
