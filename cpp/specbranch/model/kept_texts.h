/// Which texts hold cells of a model's KV cache, where there are fewer cells than all sequences
/// could hold.
#pragma once

#include <span>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/model.h"
#include "specbranch/model/options.h"

namespace specbranch {

/// The cells that the text of a request needs at most, in a model that holds `n_ctx` of a text.
Pos room_of(const Request& request, Pos n_ctx);

/// The cells of `model` suffice for `next` until its end, beside those that run.
bool fits_beside(std::span<const Request* const> running, const Request& next,
                 const Capabilities& model);

/// Counts the cells of a model: those of open sessions, and those that closed ones have left for
/// later prompts. Closed ones give way to open ones, the oldest first. It owns no cells: the model
/// empties sequences.
///
/// Cells that several texts share are counted for each, so that it never counts too few.
/// *Thread safety:* none.
class KeptTexts {
 public:
  /// 0: every sequence has room for a text, and none gives way.
  explicit KeptTexts(Pos n_cells) : n_cells_(n_cells) {}

  /// A session opens, which needs `room` cells at most. What its sequences hold already is its own.
  /// Returns the sequences to empty before its cells are computed.
  std::vector<SeqId> open(GenerationId id, std::span<const SeqId> seqs, Pos room);

  /// A session has closed and leaves `length` cells.
  void close(GenerationId id, Pos length);

  /// What a closed session has left in `seq` is gone.
  void emptied(SeqId seq);

  /// What all closed sessions have left is gone.
  void emptied() { closed_.clear(); }

 private:
  struct Text {
    GenerationId id = 0;
    std::vector<SeqId> seqs;
    Pos n_cells = 0;
  };

  static void take_away(std::vector<Text>& texts, std::span<const SeqId> seqs);

  Pos n_cells_;
  std::vector<Text> open_;
  std::vector<Text> closed_;  ///< the oldest first.
};

}  // namespace specbranch
