#include "bindings/report/trace.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "specbranch/report/trace.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

double to_ms(std::int64_t us) { return static_cast<double>(us) / 1000.0; }

const char* role(const TraceSpan& span) {
  return span.role == ModelRole::kTarget ? "target" : "draft";
}

const char* kind(const TraceSpan& span) {
  switch (span.kind) {
    case TraceSpan::Kind::kPrefill:
      return "prefill";
    case TraceSpan::Kind::kVerify:
      return "verify";
    case TraceSpan::Kind::kDraft:
      return "draft";
  }
  return "unknown";
}

const char* end(const TraceSpan& span) {
  switch (span.end) {
    case TraceSpan::End::kDone:
      return "done";
    case TraceSpan::End::kAborted:
      return "aborted";
    case TraceSpan::End::kFailed:
      return "failed";
  }
  return "unknown";
}

/// A field of the outcome of a verification; None if the verification was not applied.
template <auto Field>
auto applied(const TraceSpan& span) {
  using Value = std::remove_cvref_t<decltype(span.applied.value().*Field)>;
  return span.applied ? std::optional<Value>((*span.applied).*Field) : std::nullopt;
}

/// A copy that Python cannot write to; none if there is nothing.
std::optional<py::array_t<float>> round_features(const TraceRound& round) {
  if (round.features.empty()) return std::nullopt;
  py::array_t<float> array(static_cast<py::ssize_t>(round.features.size()), round.features.data());
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

/// Confidences of the candidates and the rank of the right one, a pair for each token.
std::vector<std::pair<std::vector<float>, int>> proposals(const TraceRound& round) {
  std::vector<std::pair<std::vector<float>, int>> found;
  found.reserve(round.proposals.size());
  for (const DraftRecord& record : round.proposals) {
    found.emplace_back(record.confidences, record.hit_rank);
  }
  return found;
}

}  // namespace

void register_trace(py::module_& m) {
  py::class_<TraceSpan>(m, "TraceSpan", "One command on one model.")
      .def_property_readonly("side", &role)
      .def_property_readonly("kind", &kind)
      .def_property_readonly("begin_ms", [](const TraceSpan& span) { return to_ms(span.begin_us); })
      .def_property_readonly("end_ms", [](const TraceSpan& span) { return to_ms(span.end_us); })
      .def_property_readonly("end", &end)
      .def_readonly("n_tokens", &TraceSpan::n_tokens)
      .def_readonly("n_padding", &TraceSpan::n_padding)
      .def_readonly("n_branches", &TraceSpan::n_branches)
      .def_property_readonly("n_accepted", &applied<&TraceSpan::Applied::n_accepted>)
      .def_property_readonly("branch_hit", &applied<&TraceSpan::Applied::branch_hit>)
      .def_property_readonly("branch_miss", &applied<&TraceSpan::Applied::branch_miss>);

  py::class_<TraceRound>(m, "TraceRound", "One verification as it was applied.")
      .def_property_readonly("at_ms", [](const TraceRound& round) { return to_ms(round.at_us); })
      .def_readonly("n_accepted", &TraceRound::n_accepted)
      .def_readonly("committed", &TraceRound::committed)
      .def_readonly("rolled_back", &TraceRound::rolled_back)
      .def_readonly("branch_hit", &TraceRound::branch_hit)
      .def_readonly("branch_miss", &TraceRound::branch_miss)
      .def_readonly("position", &TraceRound::pos)
      .def_readonly("n_submitted", &TraceRound::n_submitted)
      .def_readonly("window", &TraceRound::window)
      .def_readonly("confidence", &TraceRound::confidence)
      .def_property_readonly("features", &round_features)
      .def_property_readonly("proposals", &proposals);

  py::class_<Trace>(m, "Trace", "What each model did when, and what became of what was drafted.")
      .def_readonly("spans", &Trace::spans)
      .def_readonly("rounds", &Trace::rounds)
      .def_property_readonly(
          "begin_ms", [](const Trace& trace) { return to_ms(trace.begin_us); },
          "When the generation began, on the clock of `time.monotonic`; 0: it has not.");
}

}  // namespace specbranch::bindings
