#include "bindings/engine/engine.h"

#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <tuple>
#include <utility>

#include "bindings/library/gil.h"
#include "specbranch/base/errors.h"
#include "specbranch/planner/cost_model.h"

namespace py = pybind11;

namespace specbranch::bindings {

namespace {

/// What is no UTF-8 in it becomes U+FFFD.
py::str decoded(const std::string& bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<py::ssize_t>(bytes.size()), "replace"));
}

std::vector<py::str> all_readable(const std::vector<std::string>& texts) {
  std::vector<py::str> found;
  found.reserve(texts.size());
  for (const std::string& text : texts) found.push_back(decoded(text));
  return found;
}

py::typing::Dict<py::str, py::str> metadata(const PyEngine& self) {
  py::typing::Dict<py::str, py::str> found;
  for (const auto& [key, value] : self.metadata()) found[decoded(key)] = decoded(value);
  return found;
}

}  // namespace

PyEngine::PyEngine(std::unique_ptr<Engine> engine, std::shared_ptr<const Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)),
      longest_token_(tokenizer_->longest()),
      bos_(tokenizer_->bos()),
      eos_(tokenizer_->eos()),
      fim_(tokenizer_->fim()),
      metadata_(tokenizer_->metadata()),
      engine_(std::move(engine)) {}

std::shared_ptr<const Tokenizer> PyEngine::tokenizer(const char* method) const {
  if (engine_->closed() || tokenizer_ == nullptr) {
    throw EngineClosed(std::string("[Engine::") + method +
                       "] the engine is closed, or was made before this process was forked");
  }
  return tokenizer_;
}

std::unique_ptr<PyGeneration> PyEngine::generate(Request request) {
  const auto tokens = tokenizer("generate");
  return without_gil([&] {
    tokens->prepare();
    tokens->check_constraint(request.sampling);
    return std::make_unique<PyGeneration>(engine_->generate(std::move(request)));
  });
}

std::vector<Token> PyEngine::tokenize(const std::string& text, bool add_special,
                                      bool parse_special) const {
  const auto tokens = tokenizer("tokenize");
  return without_gil([&] { return tokens->tokenize(text, add_special, parse_special); });
}

std::string PyEngine::detokenize(const std::vector<Token>& tokens, bool special) const {
  return tokenizer("detokenize")->detokenize(tokens, special);
}

bool PyEngine::is_end(Token token) const { return tokenizer("is_end")->is_end(token); }

void PyEngine::close() {
  std::shared_ptr<const Tokenizer> last = std::move(tokenizer_);
  without_gil([&] {
    engine_->close();
    last.reset();
    return true;
  });
}

void register_engine(py::module_& m) {
  py::class_<PyEngine>(m, "Engine", py::release_gil_before_calling_cpp_dtor(),
                       "A pair of loaded models, each with a thread of its own.")
      .def(
          "new_request", [](const PyEngine&) { return Request{}; }, "A request for `generate`.")
      .def("generate", &PyEngine::generate, py::arg("request"))
      .def(
          "tokenize",
          [](const PyEngine& self, const py::bytes& text, bool add_special, bool parse_special) {
            return self.tokenize(text, add_special, parse_special);
          },
          py::arg("text"), py::kw_only(), py::arg("add_special"), py::arg("parse_special"))
      .def(
          "set_prompt",
          [](const PyEngine& self, Request& request, const py::bytes& text) {
            request.prompt = self.tokenize(text, true, true);
          },
          py::arg("request"), py::arg("text"),
          "Makes a text the prompt. No token crosses to Python, which takes long for many.")
      .def(
          "set_prediction",
          [](const PyEngine& self, Request& request, const py::bytes& text) {
            request.prediction = self.tokenize(text, false, false);
          },
          py::arg("request"), py::arg("text"), "Makes a text the prediction of the answer.")
      .def(
          "detokenize",
          [](const PyEngine& self, const std::vector<Token>& tokens, bool special) {
            return py::bytes(self.detokenize(tokens, special));
          },
          py::arg("tokens"), py::kw_only(), py::arg("special"))
      .def("is_end", &PyEngine::is_end, py::arg("token"))
      .def_property_readonly("metadata", &metadata)
      .def("close", &PyEngine::close)
      .def_property_readonly("closed", [](const PyEngine& self) { return self.engine().closed(); })
      .def_property_readonly("stats", [](const PyEngine& self) { return self.engine().stats(); })
      .def_property_readonly("profile",
                             [](const PyEngine& self) {
                               PairProfile profile = self.engine().profile();
                               profile.costs = without_gaps(profile);
                               return profile;
                             })
      .def_property_readonly(
          "n_vocab", [](const PyEngine& self) { return self.engine().limits().target.n_vocab; })
      .def_property_readonly(
          "n_ctx", [](const PyEngine& self) { return self.engine().limits().target.n_ctx; })
      .def_property_readonly(
          "n_ctx_total",
          [](const PyEngine& self) {
            const Capabilities target = self.engine().limits().target;
            return target.n_ctx_total > 0 ? target.n_ctx_total : target.n_seq * target.n_ctx;
          },
          "Tokens of all generations at once, at most.")
      .def_property_readonly(
          "n_parallel", [](const PyEngine& self) { return self.engine().limits().target.n_seq; },
          "Generations that run at once, at most.")
      .def_property_readonly(
          "n_branches",
          [](const PyEngine& self) { return self.engine().limits().target.n_branches; },
          "Branches that one verification may have beside its path.")
      .def_property_readonly(
          "n_feature_layers",
          [](const PyEngine& self) { return self.engine().limits().target.n_feature_layers; })
      .def_property_readonly(
          "n_embd", [](const PyEngine& self) { return self.engine().limits().target.n_embd; })
      .def_property_readonly("has_draft",
                             [](const PyEngine& self) {
                               const ModelLimits limits = self.engine().limits();
                               return limits.draft.has_value() && limits.target.can_roll_back();
                             })
      .def_property_readonly("can_speculate",
                             [](const PyEngine& self) {
                               const ModelLimits limits = self.engine().limits();
                               return (limits.draft.has_value() || self.lookup) &&
                                      limits.target.can_roll_back();
                             })
      .def_readonly("exact_rows", &PyEngine::exact_rows,
                    "How the target's batches are padded for `bit_exact`; None without it.")
      .def_readonly("adapters", &PyEngine::adapters, "The LoRA adapters, in their order.")
      .def_property_readonly("longest_token", &PyEngine::longest_token,
                             "Bytes of a text that one token stands for at most.")
      .def_property_readonly("bos", &PyEngine::bos)
      .def_property_readonly("eos", &PyEngine::eos)
      .def_property_readonly(
          "fim",
          [](const PyEngine& self) -> std::optional<std::tuple<Token, Token, Token>> {
            const auto fim = self.fim();
            if (!fim) return std::nullopt;
            return std::tuple((*fim)[0], (*fim)[1], (*fim)[2]);
          },
          "The tokens before prefix, suffix and middle; None: the model has no such tokens.")
      .def_property_readonly(
          "notes", [](const PyEngine& self) { return all_readable(self.notes); },
          "What of the pair differs and does not matter, a sentence each.")
      .def_property_readonly(
          "warnings", [](const PyEngine& self) { return all_readable(self.warnings); },
          "What of the options is not as the caller may expect, a sentence each.");
}

}  // namespace specbranch::bindings
