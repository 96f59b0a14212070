#include "bindings/engine/generation.h"

#include <pybind11/stl.h>

#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bindings/library/errors.h"
#include "bindings/library/gil.h"
#include "specbranch/base/errors.h"
#include "specbranch/engine/engine.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

/// Rethrows what ended a generation; an exception that is not ours is a DecodeError.
[[noreturn]] void rethrow(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& other) {
    throw DecodeError(other.what());
  }
}

const char* finish_reason(const GenerationEnd& end) {
  switch (end.finish) {
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    default:
      return "cancelled";
  }
}

const char* origin(const Chunk& chunk) {
  switch (chunk.origin) {
    case Origin::kTarget:
      return "target";
    case Origin::kDraft:
      return "draft";
    case Origin::kBranch:
      return "branch";
  }
  return "unknown";
}

using Alternatives = std::vector<std::pair<Token, float>>;

Alternatives alternatives(const std::vector<TokenLogprob>& best) {
  Alternatives top;
  top.reserve(best.size());
  for (const TokenLogprob& each : best) top.emplace_back(each.token, each.logprob);
  return top;
}

}  // namespace

PyGeneration::PyGeneration(std::unique_ptr<Generation> generation)
    : generation_(std::move(generation)) {}

Output PyGeneration::get(std::size_t index) {
  if (index > n_outputs_) throw std::out_of_range("outputs are read in order");
  if (index == n_outputs_ && !policy_request_) wait(index);
  if (index == n_outputs_) return *policy_request_;
  const auto* end = std::get_if<GenerationEnd>(&*last_);
  if (end != nullptr && end->error) rethrow(end->error);
  return *last_;
}

void PyGeneration::wait(std::size_t index) {
  // The handler of a signal may have read on.
  while (index == n_outputs_ && !policy_request_) {
    std::optional<Output> output = without_gil([&] { return generation_->next_for(kSlice); });
    if (output) {
      if (const auto* policy_request = std::get_if<PolicyRequest>(&*output)) {
        policy_request_ = *policy_request;
        return;
      }
      last_ = std::move(output);
      ++n_outputs_;
      return;
    }
    if (generation_->finished()) throw std::out_of_range("the end has been read");
    try {
      check_signals();
    } catch (...) {
      cancel();
      throw;
    }
  }
}

void PyGeneration::answer(const Plan& plan) { answer(PolicyReply{plan, nullptr}); }

void PyGeneration::refuse() {
  if (!policy_request_) return;  // an interrupt came after the answer
  const Error error("the policy raised an exception");
  answer(PolicyReply{std::nullopt, std::make_exception_ptr(error)});
}

void PyGeneration::skip() {
  if (policy_request_) answer(PolicyReply{});
}

void PyGeneration::answer(PolicyReply done) {
  if (!policy_request_) throw PreconditionError("[Generation::answer] no policy request is open");
  policy_request_.reset();
  without_gil([&] {
    generation_->answer(std::move(done));
    return true;
  });
}

void PyGeneration::cancel() {
  without_gil([&] {
    generation_->cancel();
    return true;
  });
}

void register_generation(py::module_& m) {
  py::class_<Chunk>(m, "Token", "One committed token.")
      .def_property_readonly("token", [](const Chunk& chunk) { return chunk.choice.token; })
      .def_property_readonly(
          "data", [](const Chunk& chunk) { return py::bytes(chunk.bytes); },
          "Bytes of the text that are certain now.")
      .def_property_readonly("origin", &origin, "Who had it first: target, draft or branch.")
      .def_property_readonly("logprob", [](const Chunk& chunk) { return chunk.choice.logprob; })
      .def_property_readonly(
          "top", [](const Chunk& chunk) { return alternatives(chunk.choice.top); },
          "The best alternatives, best first.");

  py::class_<TokenScore>(m, "TokenScore", "The log-probability of a token of the prompt.")
      .def_readonly("token", &TokenScore::token)
      .def_readonly("logprob", &TokenScore::logprob)
      .def_property_readonly(
          "top", [](const TokenScore& score) { return alternatives(score.top); },
          "The best alternatives, best first.");

  py::class_<GenerationEnd>(m, "GenerationEnd", "The end of a generation.")
      .def_property_readonly("finish_reason", &finish_reason)
      .def_property_readonly(
          "tail", [](const GenerationEnd& end) { return py::bytes(end.tail); },
          "Bytes that were held back for a stop string.")
      .def_property_readonly(
          "draft_error",
          [](const GenerationEnd& end) { return readable(error_text(end.draft_error)); },
          "What made the draft fail; empty: it did not.")
      .def_readonly("stop", &GenerationEnd::stop,
                    "The stop string that ended the text. Empty: none did.")
      .def_readonly("stats", &GenerationEnd::stats)
      .def_readonly("trace", &GenerationEnd::trace);

  py::class_<PyGeneration>(m, "Generation", py::release_gil_before_calling_cpp_dtor(),
                           "A running or queued generation; dropping it stops the work.")
      .def("get", &PyGeneration::get, py::arg("index").noconvert(),
           "The output of that index: the next, waited for, or the last one given out, again. Or a "
           "policy request, until it is answered.")
      .def(
          "answer",
          [](PyGeneration& self, int draft_length, int branch_at, int branches, int submit) {
            self.answer(Plan{draft_length, branch_at, branches, submit});
          },
          py::arg("draft_length"), py::arg("branch_at"), py::arg("branches"), py::arg("submit"),
          "Answers the policy request of `get`; -1 leaves a value to the mode.")
      .def(
          "skip", &PyGeneration::skip,
          "As above: no plan, the built-in rule decides in this round. Without a request: nothing.")
      .def("refuse", &PyGeneration::refuse, "As above: no plan, the generation ends.")
      .def("cancel", &PyGeneration::cancel, "Ends the work within one forward pass; never waits.")
      .def_property_readonly(
          "n_prefilled", [](const PyGeneration& self) { return self.progress().prefilled(); },
          "Tokens of the prompt that the target holds.")
      .def_property_readonly(
          "prompt_scores", [](const PyGeneration& self) { return self.progress().scores(); },
          "Of the second token of the prompt and those after it, as far as the target has read.")
      .def(
          "trace_since",
          [](const PyGeneration& self, std::size_t n_spans, std::size_t n_rounds) {
            return self.progress().since(n_spans, n_rounds);
          },
          py::arg("n_spans"), py::arg("n_rounds"),
          "What was recorded after the first ones, while it runs; rounds without features.");
}

}  // namespace specbranch::bindings
