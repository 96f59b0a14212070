#include "bindings/engine/policy.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "specbranch/base/errors.h"
#include "specbranch/engine/engine.h"
#include "specbranch/model/hrad.h"
#include "specbranch/model/policy.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

// A policy is asked once a round, for many small numbers: pybind11's casts would cost ten times as
// much as Python's own functions.

py::object own(PyObject* made) {
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

/// A tuple of so many items that `make(i)` makes.
template <class Make>
py::object tuple_of(std::size_t n, const Make& make) {
  py::object tuple = own(PyTuple_New(static_cast<Py_ssize_t>(n)));
  for (std::size_t i = 0; i < n; ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), make(i).release().ptr());
  }
  return tuple;
}

py::object number(int value) { return own(PyLong_FromLong(value)); }
py::object number(double value) { return own(PyFloat_FromDouble(value)); }

template <class... Items>
py::object pack(const Items&... items) {
  return own(PyTuple_Pack(sizeof...(items), items.ptr()...));
}

py::object candidates(const PolicyNode& node) {
  return tuple_of(node.candidates.size(), [&](std::size_t i) {
    return pack(number(node.candidates[i].token), number(node.candidates[i].confidence));
  });
}

/// The main path, root excluded, as (tokens, confidences).
py::object path(const PolicyRequest& request) {
  const auto n_path = static_cast<std::size_t>(request.round->n_path);
  const auto& all = request.round->nodes;
  return pack(tuple_of(n_path, [&](std::size_t i) { return number(all[i + 1].token); }),
              tuple_of(n_path, [&](std::size_t i) { return number(all[i + 1].confidence); }));
}

/// One (parent, token, confidence, candidates) a node.
py::object nodes(const PolicyRequest& request) {
  const auto& all = request.round->nodes;
  return tuple_of(all.size(), [&](std::size_t i) {
    return pack(number(all[i].parent), number(all[i].token), number(all[i].confidence),
                candidates(all[i]));
  });
}

/// A read-only array that keeps the round alive; None without features.
py::object features(const PolicyRequest& request) {
  const PolicyRound& round = *request.round;
  if (round.features.empty()) return py::none();
  const py::ssize_t n_rows = round.n_feature_layers + 1;
  const py::ssize_t n_columns = static_cast<py::ssize_t>(round.features.size()) / n_rows;
  using Owner = std::shared_ptr<const PolicyRound>;
  auto owner = std::make_unique<Owner>(request.round);
  const py::capsule base(owner.get(), [](void* held) { delete static_cast<Owner*>(held); });
  static_cast<void>(owner.release());  // NOLINT(bugprone-unused-return-value): the capsule's now
  py::array_t<float> array({n_rows, n_columns}, round.features.data(), base);
  array.attr("flags").attr("writeable") = false;
  return array;
}

/// (planned, n_submitted, n_accepted, branch_hit, n_rolled_back, committed) a round. `planned`: by
/// the last plan, else by the built-in rule.
py::object outcomes(const PolicyRequest& request) {
  const auto& all = request.round->outcomes;
  return tuple_of(all.size(), [&](std::size_t i) {
    const PolicyOutcome& outcome = all[i];
    return pack(py::bool_(outcome.plan.has_value()), number(outcome.n_submitted),
                number(outcome.n_accepted), py::bool_(outcome.branch_hit),
                number(outcome.n_rolled_back),
                tuple_of(outcome.committed.size(),
                         [&](std::size_t t) { return number(outcome.committed[t]); }));
  });
}

py::object limits(const PolicyRequest& request) {
  const PlanLimits& limits = request.round->limits;
  return pack(number(limits.max_draft), number(limits.max_branches), number(limits.max_submit));
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

/// The arguments of `make_weights`, so that another process can have the same weights.
using Parts = py::typing::Tuple<py::object, py::ellipsis>;

Parts parts(const HradWeights& weights) {
  const auto array = [](const std::vector<float>& numbers) {
    return Array(static_cast<py::ssize_t>(numbers.size()), numbers.data());
  };
  return py::make_tuple(weights.n_layers, weights.n_embd, array(weights.mean), array(weights.scale),
                        array(weights.w1), array(weights.b1), array(weights.w2), array(weights.b2),
                        array(weights.w3), array(weights.b3));
}

std::shared_ptr<HradWeights> from_parts(const Parts& parts) {
  const auto array = [&](std::size_t i) { return parts[i].cast<Array>(); };
  return make_weights(parts[0].cast<int>(), parts[1].cast<int>(), array(2), array(3), array(4),
                      array(5), array(6), array(7), array(8), array(9));
}

}  // namespace

void register_policy(py::module_& m) {
  py::class_<PolicyRequest>(m, "PolicyRequest", "A round that the caller's policy must plan.")
      .def_property_readonly(
          "mode", [](const PolicyRequest& q) { return std::string(to_string(q.round->mode)); })
      .def_property_readonly("position", [](const PolicyRequest& q) { return q.round->position; })
      .def_property_readonly("acceptance",
                             [](const PolicyRequest& q) { return q.round->acceptance; })
      .def_property_readonly("target_us", [](const PolicyRequest& q) { return q.round->target_us; })
      .def_property_readonly("draft_us", [](const PolicyRequest& q) { return q.round->draft_us; })
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
      .def(py::pickle(&parts, &from_parts))
      .def_readonly("n_layers", &HradWeights::n_layers)
      .def_readonly("n_embd", &HradWeights::n_embd);
}

}  // namespace specbranch::bindings
