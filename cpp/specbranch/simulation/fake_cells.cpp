#include "specbranch/simulation/fake_cells.h"

#include <algorithm>
#include <string>

#include "specbranch/base/errors.h"
#include "specbranch/model/row_tree.h"

namespace specbranch {
namespace {

void expect(std::size_t held, Pos expected, const char* method) {
  if (static_cast<Pos>(held) != expected) {
    throw PreconditionError(std::string("[") + method + "] the sequence holds " +
                            std::to_string(held) + " cells; expected " + std::to_string(expected));
  }
}

}  // namespace

void FakeCells::check(SeqId seq, const char* method) const {
  if (seq < 0 || static_cast<std::size_t>(seq) >= cells_.size()) {
    throw PreconditionError(std::string("[") + method + "] sequence " + std::to_string(seq) +
                            " is out of range; there are " + std::to_string(cells_.size()));
  }
}

void FakeCells::check_room(int n_tokens, const char* method, const Capabilities& limits) const {
  if (limits.n_ctx_total == 0) return;
  auto n_cells = static_cast<std::size_t>(n_tokens);
  // Those behind are copies, which share the cells of their texts.
  for (SeqId seq = 0; seq < limits.n_seq; ++seq) n_cells += at(seq, method).size();
  if (n_cells > static_cast<std::size_t>(limits.n_ctx_total)) {
    throw PreconditionError(std::string("[") + method + "] all texts have " +
                            std::to_string(n_cells) + " tokens; there are cells for " +
                            std::to_string(limits.n_ctx_total));
  }
}

std::vector<Token>& FakeCells::at(SeqId seq, const char* method) {
  check(seq, method);
  return cells_[static_cast<std::size_t>(seq)];
}

const std::vector<Token>& FakeCells::at(SeqId seq, const char* method) const {
  check(seq, method);
  return cells_[static_cast<std::size_t>(seq)];
}

void FakeCells::truncate(const Truncate& op) {
  auto& cells = at(op.seq, "truncate");
  expect(cells.size(), op.expected, "truncate");
  if (op.length > op.expected || op.length < 0) {
    throw PreconditionError("[truncate] new length " + std::to_string(op.length) +
                            " is not within what is held");
  }
  if (whole_ && op.length != 0 && op.length != op.expected) {
    throw PreconditionError("[truncate] a recurrent state cannot be cut");
  }
  cells.resize(static_cast<std::size_t>(op.length));
}

void FakeCells::fork(const Fork& op) {
  auto& to = at(op.to, "fork");
  const auto& from = at(op.from, "fork");
  expect(to.size(), op.to_length, "fork");
  if (op.from == op.to || op.shared < 0 || op.shared > op.length || op.shared > op.to_length ||
      static_cast<std::size_t>(op.length) > from.size()) {
    throw PreconditionError("[fork] sizes do not fit: shared " + std::to_string(op.shared) +
                            ", length " + std::to_string(op.length) + ", source holds " +
                            std::to_string(from.size()));
  }
  const bool all_of_both = static_cast<std::size_t>(op.length) == from.size() &&
                           (op.shared == 0 || op.shared == op.to_length);
  if (whole_ && !all_of_both) {
    throw PreconditionError("[fork] a recurrent state cannot be copied in part");
  }
  // Exactly what the lazy fork does: the first `shared` cells of `to` stay whatever they are.
  to.resize(static_cast<std::size_t>(op.shared));
  to.insert(to.end(), from.begin() + op.shared, from.begin() + op.length);
}

int FakeCells::open(std::span<const SeqId> seqs, std::span<const Token> prompt) {
  if (seqs.empty() || prompt.empty()) {
    throw PreconditionError("[open] there is no sequence, or no prompt");
  }
  const auto wanted = prompt.first(prompt.size() - 1);
  std::ptrdiff_t n_reused = 0;
  for (const SeqId seq : seqs) {
    auto& cells = at(seq, "open");
    const auto common = std::ranges::mismatch(cells, wanted).in1;
    const auto end = whole_ && common != cells.end() ? cells.begin() : common;
    n_reused = std::max(n_reused, end - cells.begin());
    cells.erase(end, cells.end());
  }
  at(seqs.front(), "open").assign(wanted.begin(), wanted.begin() + n_reused);
  return static_cast<int>(n_reused);
}

void FakeCells::end_early(std::span<const SeqId> seqs) {
  for (const SeqId seq : seqs) {
    if (whole_) at(seq, "end_early").clear();
  }
}

void FakeCells::prefill(SeqId seq, std::span<const Token> prompt, Pos begin, Pos end,
                        const Capabilities& limits) {
  auto& cells = at(seq, "prefill");
  expect(cells.size(), begin, "prefill");
  const auto n_wanted = static_cast<Pos>(prompt.size()) - 1;
  // A chunk ends at a multiple of its size, or with the prompt.
  const Pos border = (begin / limits.prefill_chunk + 1) * limits.prefill_chunk;
  if (end <= begin || end != std::min(border, n_wanted)) {
    throw PreconditionError("[prefill] " + std::to_string(begin) + " to " + std::to_string(end) +
                            " is no chunk of a prompt of " + std::to_string(prompt.size()));
  }
  check_room(end - begin, "prefill", limits);
  const auto chunk =
      prompt.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  if (std::ranges::any_of(chunk, [&](Token t) { return t < 0 || t >= limits.n_vocab; })) {
    throw PreconditionError("[prefill] a token is beyond the vocabulary of " +
                            std::to_string(limits.n_vocab));
  }
  cells.insert(cells.end(), chunk.begin(), chunk.end());
}

void FakeCells::check_segments(std::span<const Segment> segments, int n_pad,
                               const Capabilities& limits) const {
  int n_rows = n_pad;
  for (const Segment& segment : segments) {
    const auto& cells = at(segment.seq, "verify");
    expect(cells.size(), segment.pos, "verify");
    const auto same = [&](const Segment& other) {
      return other.seq == segment.seq || other.generation_id == segment.generation_id;
    };
    if (std::ranges::count_if(segments, same) != 1) {
      throw PreconditionError("[verify] sequence " + std::to_string(segment.seq) +
                              " or its session appears twice");
    }
    const auto& rows = segment.rows;
    if (const std::string fault = fault_of(rows); !fault.empty()) {
      throw PreconditionError("[verify] sequence " + std::to_string(segment.seq) + ": " + fault);
    }
    const auto begins = [](const Row& row) { return row.parent != Row::kBefore; };
    const auto n_branches = std::ranges::count_if(rows, begins);
    if (n_branches > limits.n_branches || (n_branches > 0 && segments.size() > 1)) {
      throw PreconditionError("[verify] " + std::to_string(n_branches) +
                              " branches are too many, or stand beside another segment");
    }
    const Pos depth = std::ranges::max(row_depths(rows));
    if (segment.pos + depth >= limits.n_ctx) {
      throw PreconditionError("[verify] a path of " + std::to_string(depth + 1) + " tokens at " +
                              std::to_string(segment.pos) + " does not fit");
    }
    n_rows += static_cast<int>(rows.size());
  }
  if (segments.empty() || n_pad < 0 || (n_pad > 0 && !limits.pads) || n_rows > limits.max_batch) {
    throw PreconditionError("[verify] " + std::to_string(segments.size()) + " segments of " +
                            std::to_string(n_rows) + " rows in all do not fit");
  }
  check_room(n_rows - n_pad, "verify", limits);
}

void FakeCells::check_inputs(std::span<const SequenceInput> inputs,
                             const Capabilities& limits) const {
  for (const SequenceInput& input : inputs) {
    const auto& cells = at(input.seq, "draft");
    expect(cells.size(), input.pos, "draft");
    const auto same = [&](const SequenceInput& other) { return other.seq == input.seq; };
    if (input.tokens.empty() || std::ranges::count_if(inputs, same) != 1) {
      throw PreconditionError("[draft] sequence " + std::to_string(input.seq) +
                              " has no tokens or appears twice");
    }
    if (std::ranges::any_of(input.tokens, [&](Token t) { return t < 0 || t >= limits.n_vocab; })) {
      throw PreconditionError("[draft] sequence " + std::to_string(input.seq) +
                              " gets a token beyond the vocabulary of " +
                              std::to_string(limits.n_vocab));
    }
    if (cells.size() + input.tokens.size() > static_cast<std::size_t>(limits.n_ctx)) {
      throw PreconditionError("[draft] sequence " + std::to_string(input.seq) +
                              " leaves the context of " + std::to_string(limits.n_ctx));
    }
  }
}

std::span<const Token> FakeCells::append(SeqId seq, std::span<const Token> tokens) {
  auto& cells = at(seq, "append");
  cells.insert(cells.end(), tokens.begin(), tokens.end());
  return cells;
}

void FakeCells::append_path(const Segment& segment) {
  auto& cells = at(segment.seq, "append_path");
  const std::span<const Row> rows(segment.rows);
  for (const Row& row : rows.first(path_length(rows))) cells.push_back(row.token);
}

}  // namespace specbranch
