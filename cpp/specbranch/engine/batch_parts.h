/// The parts in which a recurrent model computes a batch of several sequences.
#pragma once

#include <vector>

#include "specbranch/base/types.h"

namespace specbranch {

/// The rows of a sequence in a batch.
struct SequenceRows {
  SeqId seq = 0;
  int n_rows = 0;
};

/// The rows of each part, in the order in which the model computes them. A part has as many rows of
/// each of its sequences. `splits_at_gaps`: its ids follow each other, so that a sequence without
/// rows left parts those beside it; the batch is in the order of the ids.
///
/// Ids that no sequence of the batch has are gaps, too. They are not counted: all batches of the
/// same texts have them, so that they are in the measured times.
std::vector<int> batch_parts(std::vector<SequenceRows> sequences, bool splits_at_gaps);

}  // namespace specbranch
