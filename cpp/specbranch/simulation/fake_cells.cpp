#include "specbranch/simulation/fake_cells.h"

#include <algorithm>
#include <string>

#include "specbranch/base/errors.h"

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
  // Exactly what the lazy fork does: the first `shared` cells of `to` stay whatever they are.
  to.resize(static_cast<std::size_t>(op.shared));
  to.insert(to.end(), from.begin() + op.shared, from.begin() + op.length);
}

int FakeCells::begin(std::span<const Token> prompt) {
  const auto wanted = prompt.first(prompt.size() - 1);
  std::ptrdiff_t n_reused = 0;
  for (auto& cells : cells_) {
    const auto end = std::ranges::mismatch(cells, wanted).in1;
    n_reused = std::max(n_reused, end - cells.begin());
    cells.erase(end, cells.end());
  }
  cells_[0].assign(wanted.begin(), wanted.end());
  return static_cast<int>(n_reused);
}

void FakeCells::check_path(Pos pos, std::span<const Token> path, int n_pad,
                           const Capabilities& limits) const {
  const auto& cells = at(0, "verify");
  expect(cells.size(), pos, "verify");
  if (path.empty() || n_pad < 0 || static_cast<int>(path.size()) + n_pad > limits.max_batch ||
      pos + static_cast<Pos>(path.size()) > limits.n_ctx) {
    throw PreconditionError("[verify] a path of " + std::to_string(path.size()) + " tokens at " +
                            std::to_string(pos) + " does not fit");
  }
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

}  // namespace specbranch
