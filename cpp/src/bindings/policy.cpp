#include "policy.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "specbranch/core/engine.h"
#include "specbranch/core/errors.h"
#include "specbranch/core/hrad.h"
#include "specbranch/core/policy.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

py::tuple candidates(const PolicyNode& node) {
  py::tuple shown(node.candidates.size());
  for (std::size_t i = 0; i < node.candidates.size(); ++i) {
    shown[i] = py::make_tuple(node.candidates[i].token, node.candidates[i].confidence);
  }
  return shown;
}

/// The main path, root excluded, as (tokens, confidences).
py::tuple path(const Question& question) {
  const auto n_path = static_cast<std::size_t>(question.round->n_path);
  py::tuple tokens(n_path);
  py::tuple confidences(n_path);
  for (std::size_t i = 0; i < n_path; ++i) {
    tokens[i] = py::int_(question.round->nodes[i + 1].token);
    confidences[i] = py::float_(question.round->nodes[i + 1].confidence);
  }
  return py::make_tuple(tokens, confidences);
}

/// One (parent, token, confidence, candidates) a node.
py::tuple nodes(const Question& question) {
  const auto& all = question.round->nodes;
  py::tuple shown(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    shown[i] =
        py::make_tuple(all[i].parent, all[i].token, all[i].confidence, candidates(all[i]));
  }
  return shown;
}

/// A read-only array that keeps the round alive; None without features.
py::object features(const Question& question) {
  const PolicyRound& round = *question.round;
  if (round.features.empty()) return py::none();
  const py::ssize_t n_rows = round.n_feature_layers + 1;
  const py::ssize_t n_columns = static_cast<py::ssize_t>(round.features.size()) / n_rows;
  using Owner = std::shared_ptr<const PolicyRound>;
  auto owner = std::make_unique<Owner>(question.round);
  const py::capsule base(owner.get(), [](void* held) { delete static_cast<Owner*>(held); });
  static_cast<void>(owner.release());
  py::array_t<float> array({n_rows, n_columns}, round.features.data(), base);
  array.attr("flags").attr("writeable") = false;
  return array;
}

/// (plan, n_submitted, n_accepted, branch_hit, n_rolled_back, committed) a round; a plan is
/// (draft_length, branch_at, branches, submit), -1 for what it left to the mode, or None.
py::tuple outcomes(const Question& question) {
  const auto& all = question.round->outcomes;
  py::tuple shown(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const PolicyOutcome& outcome = all[i];
    py::object plan = py::none();
    if (outcome.plan) {
      plan = py::make_tuple(outcome.plan->draft_length, outcome.plan->branch_at,
                            outcome.plan->branches, outcome.plan->submit);
    }
    shown[i] = py::make_tuple(plan, outcome.n_submitted, outcome.n_accepted, outcome.branch_hit,
                              outcome.n_rolled_back, py::tuple(py::cast(outcome.committed)));
  }
  return shown;
}

py::tuple limits(const Question& question) {
  const PlanLimits& limits = question.round->limits;
  return py::make_tuple(limits.max_draft, limits.max_branches, limits.max_submit);
}

using Array = py::array_t<float, py::array::c_style>;

std::vector<float> values(const Array& array) {
  return {array.data(), array.data() + array.size()};
}

std::shared_ptr<HradWeights> make_weights(int n_layers, int n_embd, const Array& mean,
                                          const Array& scale, const Array& w1, const Array& b1,
                                          const Array& w2, const Array& b2, const Array& w3,
                                          const Array& b3) {
  auto weights = std::make_shared<HradWeights>();
  weights->n_layers = n_layers;
  weights->n_embd = n_embd;
  weights->mean = values(mean);
  weights->scale = values(scale);
  weights->w1 = values(w1);
  weights->b1 = values(b1);
  weights->w2 = values(w2);
  weights->b2 = values(b2);
  weights->w3 = values(w3);
  weights->b3 = values(b3);
  validate(*weights);
  return weights;
}

}  // namespace

void register_policy(py::module_& m) {
  py::class_<Question>(m, "Question", "A round that the policy is asked about.")
      .def_property_readonly("mode",
                             [](const Question& q) { return std::string(to_string(q.round->mode)); })
      .def_property_readonly("position", [](const Question& q) { return q.round->position; })
      .def_property_readonly("acceptance", [](const Question& q) { return q.round->acceptance; })
      .def_property_readonly("target_us", [](const Question& q) { return q.round->target_us; })
      .def_property_readonly("draft_us", [](const Question& q) { return q.round->draft_us; })
      .def_property_readonly("path", &path)
      .def_property_readonly("nodes", &nodes)
      .def_property_readonly("limits", &limits)
      .def_property_readonly("features", &features)
      .def_property_readonly("outcomes", &outcomes);

  py::class_<HradWeights, std::shared_ptr<HradWeights>>(m, "HradWeights",
                                                        "A trained H-RAD classifier.")
      .def(py::init(&make_weights), py::kw_only(), py::arg("n_layers"), py::arg("n_embd"),
           py::arg("mean"), py::arg("scale"), py::arg("w1"), py::arg("b1"), py::arg("w2"),
           py::arg("b2"), py::arg("w3"), py::arg("b3"))
      .def_readonly("n_layers", &HradWeights::n_layers)
      .def_readonly("n_embd", &HradWeights::n_embd);
}

}  // namespace specbranch::bindings
