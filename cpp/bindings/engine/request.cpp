#include "bindings/engine/request.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "specbranch/base/processor_channel.h"
#include "specbranch/model/hrad.h"
#include "specbranch/model/options.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

/// A Python attribute for a field of `request.sampling`.
template <auto Field, class Class>
void add_sampling(Class& cls, const char* name) {
  using Value = std::remove_reference_t<decltype(std::declval<SamplingOptions>().*Field)>;
  cls.def_property(
      name, [](const Request& request) -> Value { return request.sampling.*Field; },
      [](Request& request, Value value) { request.sampling.*Field = std::move(value); });
}

std::vector<py::bytes> stops(const Request& request) {
  return {request.stop.begin(), request.stop.end()};
}

void set_stops(Request& request, const std::vector<py::bytes>& stops) {
  request.stop.assign(stops.begin(), stops.end());
}

using Bias = std::vector<std::pair<Token, float>>;

Bias bias(const Request& request) {
  return {request.sampling.logit_bias.begin(), request.sampling.logit_bias.end()};
}

void set_bias(Request& request, const Bias& bias) {
  request.sampling.logit_bias = {bias.begin(), bias.end()};
}

using ScaleList = std::vector<std::pair<int, float>>;

std::optional<ScaleList> adapter_scales(const Request& request) {
  if (!request.adapters) return std::nullopt;
  ScaleList found;
  for (const auto& [index, scale] : *request.adapters) found.emplace_back(index, scale);
  return found;
}

void set_adapter_scales(Request& request, const std::optional<ScaleList>& scales) {
  request.adapters.reset();
  if (!scales) return;
  request.adapters.emplace();
  for (const auto& [index, scale] : *scales) request.adapters->push_back({index, scale});
}

std::vector<py::bytes> breakers(const Request& request) {
  const auto& breakers = request.sampling.dry_sequence_breakers;
  return {breakers.begin(), breakers.end()};
}

void set_breakers(Request& request, const std::vector<py::bytes>& breakers) {
  request.sampling.dry_sequence_breakers.assign(breakers.begin(), breakers.end());
}

using Names = std::optional<std::vector<std::string>>;

Names samplers(const Request& request) {
  if (!request.sampling.samplers) return std::nullopt;
  std::vector<std::string> names;
  names.reserve(request.sampling.samplers->size());
  for (const SamplerKind kind : *request.sampling.samplers) names.emplace_back(to_string(kind));
  return names;
}

void set_samplers(Request& request, const Names& names) {
  request.sampling.samplers.reset();
  if (!names) return;
  std::vector<SamplerKind> kinds;
  kinds.reserve(names->size());
  for (const std::string& name : *names) kinds.push_back(parse_sampler(name));
  request.sampling.samplers = std::move(kinds);
}

void use_fixed(Request& request, int gamma) {
  request.policy.kind = PolicyOptions::Kind::kFixed;
  request.policy.gamma = gamma;
}

void use_confidence(Request& request, double epsilon) {
  request.policy.kind = PolicyOptions::Kind::kConfidence;
  request.policy.epsilon = epsilon;
}

void use_ada_edl(Request& request, double threshold, double acceptance) {
  request.policy.kind = PolicyOptions::Kind::kAdaEdl;
  request.policy.lambda = threshold;
  request.policy.acceptance = acceptance;
}

void use_hrad(Request& request, const std::shared_ptr<HradWeights>& weights, double epsilon,
              double min_probability) {
  request.policy.kind = PolicyOptions::Kind::kHrad;
  request.policy.hrad = weights;
  request.policy.epsilon = epsilon;
  request.policy.min_probability = min_probability;
  request.n_feature_layers = weights->n_layers;
}

std::shared_ptr<ProcessorChannel> new_channel(Request& request, bool masks, bool rows) {
  request.processors = std::make_shared<ProcessorChannel>(masks, rows);
  return request.processors;
}

void use_hook(Request& request, int n_feature_layers) {
  request.policy.kind = PolicyOptions::Kind::kHook;
  request.n_feature_layers = n_feature_layers;
}

}  // namespace

void register_request(py::module_& m) {
  m.attr("MAX_DRAFT") = kMaxDraft;
  m.attr("MAX_BRANCHES") = kMaxBranches;
  m.attr("MAX_PARALLEL") = kMaxParallel;

  py::class_<Request> cls(m, "Request", "What one generation is to do; checked when submitted.");
  cls.def(py::init<>())
      .def_readwrite("prompt", &Request::prompt)
      .def_property_readonly(
          "n_prompt", [](const Request& request) { return request.prompt.size(); },
          "The number of tokens of the prompt.")
      .def_readwrite("max_tokens", &Request::max_tokens, "Negative: until the context is full.")
      .def_readwrite("min_tokens", &Request::min_tokens, "Before these nothing ends the text.")
      .def_property("stop", &stops, &set_stops)
      .def_readwrite("stop_tokens", &Request::stop_tokens, "They end the text, without them.")
      .def_property("logit_bias", &bias, &set_bias)
      .def_property("adapters", &adapter_scales, &set_adapter_scales,
                    "Indexes and scales of the adapters that act; None: those of the engine.")
      .def_property("dry_sequence_breakers", &breakers, &set_breakers)
      .def_property("samplers", &samplers, &set_samplers,
                    "Names of the samplers that run, in this order; None: llama.cpp's order.")
      .def_readwrite("logprobs", &Request::logprobs, "Alternatives a token; negative: none at all.")
      .def_readwrite("prompt_logprobs", &Request::prompt_logprobs,
                     "The same for the tokens of the prompt.")
      .def_readwrite("max_draft", &Request::max_draft)
      .def_readwrite("max_branches", &Request::max_branches)
      .def_readwrite("trace", &Request::trace)
      .def("new_channel", &new_channel, py::kw_only(), py::arg("masks"), py::arg("rows"),
           "Functions of the caller will answer through the channel that this returns.")
      .def_readwrite("n_feature_layers", &Request::n_feature_layers)
      .def_readwrite("lookup", &Request::lookup, "Texts may propose tokens.")
      .def_readwrite("lookup_answers", &Request::lookup_answers,
                     "Earlier answers may do so, and this answer may later.")
      .def_readwrite("prediction", &Request::prediction,
                     "Tokens of a text that the answer probably resembles.")
      .def_property_readonly(
          "n_prediction", [](const Request& request) { return request.prediction.size(); },
          "The number of tokens of the prediction.")
      .def_property(
          "mode", [](const Request& request) { return std::string(to_string(request.mode)); },
          [](Request& request, const std::string& mode) { request.mode = parse_mode(mode); })
      .def("use_fixed", &use_fixed, py::arg("gamma"))
      .def("use_confidence", &use_confidence, py::arg("epsilon"))
      .def("use_ada_edl", &use_ada_edl, py::arg("threshold"), py::arg("acceptance"))
      .def("use_hrad", &use_hrad, py::arg("weights").none(false), py::arg("epsilon"),
           py::arg("min_probability"))
      .def("use_hook", &use_hook, py::arg("n_feature_layers"),
           "`Generation.get` gives policy requests, which the caller must answer.");
  add_sampling<&SamplingOptions::temperature>(cls, "temperature");
  add_sampling<&SamplingOptions::dynatemp_range>(cls, "dynatemp_range");
  add_sampling<&SamplingOptions::dynatemp_exponent>(cls, "dynatemp_exponent");
  add_sampling<&SamplingOptions::top_k>(cls, "top_k");
  add_sampling<&SamplingOptions::top_p>(cls, "top_p");
  add_sampling<&SamplingOptions::min_p>(cls, "min_p");
  add_sampling<&SamplingOptions::typical_p>(cls, "typical_p");
  add_sampling<&SamplingOptions::top_n_sigma>(cls, "top_n_sigma");
  add_sampling<&SamplingOptions::min_keep>(cls, "min_keep");
  add_sampling<&SamplingOptions::xtc_probability>(cls, "xtc_probability");
  add_sampling<&SamplingOptions::xtc_threshold>(cls, "xtc_threshold");
  add_sampling<&SamplingOptions::repeat_last_n>(cls, "repeat_last_n");
  add_sampling<&SamplingOptions::repeat_penalty>(cls, "repeat_penalty");
  add_sampling<&SamplingOptions::presence_penalty>(cls, "presence_penalty");
  add_sampling<&SamplingOptions::frequency_penalty>(cls, "frequency_penalty");
  add_sampling<&SamplingOptions::dry_multiplier>(cls, "dry_multiplier");
  add_sampling<&SamplingOptions::dry_base>(cls, "dry_base");
  add_sampling<&SamplingOptions::dry_allowed_length>(cls, "dry_allowed_length");
  add_sampling<&SamplingOptions::dry_penalty_last_n>(cls, "dry_penalty_last_n");
  add_sampling<&SamplingOptions::mirostat>(cls, "mirostat");
  add_sampling<&SamplingOptions::mirostat_tau>(cls, "mirostat_tau");
  add_sampling<&SamplingOptions::mirostat_eta>(cls, "mirostat_eta");
  add_sampling<&SamplingOptions::adaptive_target>(cls, "adaptive_target");
  add_sampling<&SamplingOptions::adaptive_decay>(cls, "adaptive_decay");
  add_sampling<&SamplingOptions::grammar>(cls, "grammar");
  add_sampling<&SamplingOptions::lark>(cls, "lark");
  add_sampling<&SamplingOptions::seed>(cls, "seed");
}

}  // namespace specbranch::bindings
