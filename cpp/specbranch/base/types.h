/// Scalar types shared by every part of the engine.
#pragma once

#include <cstdint>

namespace specbranch {

/// Id of a token in the target's vocabulary.
using Token = std::int32_t;

/// Absolute position of a token in the text: the first prompt token is at 0.
using Pos = std::int32_t;

/// Id of a KV sequence (a draft branch); 0 is the one that prefill fills.
using SeqId = std::int32_t;

/// Id of a node of the speculation tree; never reused within a generation.
using NodeId = std::int64_t;

/// Id of one generation: the decoder ignores events of another generation.
using GenerationId = std::uint64_t;

inline constexpr NodeId kNoNode = -1;
inline constexpr SeqId kNoSeq = -1;

/// The role of a model.
enum class ModelRole : std::uint8_t { kTarget, kDraft };

/// Who had a token of the text first: the target; the draft, on the path that was verified; or the
/// draft, in the tree beside or past that path, where the target then went (a branch hit). What a
/// text has proposed counts as drafted.
enum class Origin : std::uint8_t { kTarget, kDraft, kBranch };

}  // namespace specbranch
