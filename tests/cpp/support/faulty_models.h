/// Fakes that fail at any of the operations of a model, in any of the ways in which one can fail.
#pragma once

#include <atomic>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/simulation/fake_model.h"

namespace specbranch::test {

enum class Operation { kOpen, kPrefill, kStep, kFork, kTruncate, kClose, kLength };
inline constexpr Operation kAllOperations[] = {
    Operation::kOpen,     Operation::kPrefill, Operation::kStep,  Operation::kFork,
    Operation::kTruncate, Operation::kClose,   Operation::kLength};

enum class Fault {
  kDecode,      ///< DecodeError, as for llama_decode's 1 and 2, and for logits that are no numbers.
  kFatal,       ///< FatalError, as for llama_decode's -1 and a cache that could not be restored.
  kAllocation,  ///< std::bad_alloc.
  kOther,       ///< an exception that is not ours.
  kUnknown,     ///< something that is no exception.
  kSegment,     ///< one text of a verification fails, and the others do not.
};
inline constexpr Fault kAllFaults[] = {Fault::kDecode, Fault::kFatal,   Fault::kAllocation,
                                       Fault::kOther,  Fault::kUnknown, Fault::kSegment};

/// Where a model fails: at the operation of that kind with that number.
struct FaultPlan {
  Operation operation = Operation::kStep;
  Fault fault = Fault::kDecode;
  int number = 0;
  bool afterwards = false;  ///< the operation is carried out before it fails.
  std::shared_ptr<std::atomic<int>> n_failed = std::make_shared<std::atomic<int>>(0);
};

template <class M>
class Faulty : public M {
 public:
  Faulty(std::unique_ptr<M> inner, FaultPlan plan)
      : inner_(std::move(inner)), plan_(std::move(plan)) {}

  Capabilities capabilities() const override { return inner_->capabilities(); }
  Pos length(SeqId seq) const override {
    return run(Operation::kLength, [&] { return inner_->length(seq); });
  }
  void truncate(const Truncate& op) override {
    run(Operation::kTruncate, [&] { return inner_->truncate(op), 0; });
  }
  void fork(const Fork& op) override {
    run(Operation::kFork, [&] { return inner_->fork(op), 0; });
  }
  int open(GenerationId id, const std::shared_ptr<const Request>& request,
           std::span<const SeqId> seqs) override {
    return run(Operation::kOpen, [&] { return inner_->open(id, request, seqs); });
  }
  void prefill(GenerationId id, Pos begin, Pos end) override {
    run(Operation::kPrefill, [&] { return inner_->prefill(id, begin, end), 0; });
  }
  void close(GenerationId id, bool forget) override {
    run(Operation::kClose, [&] { return inner_->close(id, forget), 0; });
  }

 protected:
  M& inner() { return *inner_; }
  const FaultPlan& plan() const { return plan_; }

  /// Whether this operation is the one that fails.
  bool strikes(Operation operation) const {
    if (operation != plan_.operation || n_++ != plan_.number) return false;
    ++*plan_.n_failed;
    return true;
  }

  void fail() const {
    switch (plan_.fault) {
      case Fault::kDecode:
      case Fault::kSegment:
        throw DecodeError("the step failed");
      case Fault::kFatal:
        throw FatalError("the state is lost");
      case Fault::kAllocation:
        throw std::bad_alloc();
      case Fault::kOther:
        throw std::runtime_error("device lost");
      case Fault::kUnknown:
        throw 42;  // NOLINT
    }
  }

  template <class Work>
  auto run(Operation operation, Work work) const {
    const bool now = strikes(operation);
    if (now && !plan_.afterwards) fail();
    auto result = work();
    if (now) fail();
    return result;
  }

 private:
  std::unique_ptr<M> inner_;
  FaultPlan plan_;
  mutable int n_ = 0;
};

class FaultyTarget final : public Faulty<TargetModel> {
 public:
  using Faulty::Faulty;

  std::vector<SegmentResult> verify(std::span<const Segment> segments, int n_pad) override {
    if (plan().fault != Fault::kSegment) {
      return run(Operation::kStep, [&] { return inner().verify(segments, n_pad); });
    }
    const bool now = strikes(Operation::kStep);
    auto results = inner().verify(segments, n_pad);
    if (now) {
      SegmentResult& failed = results.front();
      const Segment& segment = segments.front();
      inner().truncate(
          {segment.seq, segment.pos + static_cast<Pos>(segment.rows.size()), segment.pos});
      failed.verification = {};
      failed.error = std::make_exception_ptr(DecodeError("logits that are no numbers"));
    }
    return results;
  }
};

class FaultyDraft final : public Faulty<DraftModel> {
 public:
  using Faulty::Faulty;

  std::vector<std::vector<Candidate>> draft(std::span<const SequenceInput> inputs,
                                            std::span<const RankOptions> ranks) override {
    return run(Operation::kStep, [&] { return inner().draft(inputs, ranks); });
  }
};

}  // namespace specbranch::test
