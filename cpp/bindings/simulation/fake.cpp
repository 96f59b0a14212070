#include "bindings/simulation/fake.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/engine/engine.h"
#include "bindings/engine/text_sources.h"
#include "bindings/library/gil.h"
#include "specbranch/base/errors.h"
#include "specbranch/sampling/noise.h"
#include "specbranch/simulation/fake_model.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

/// A token for each of its pieces; text is split into single bytes.
class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}

  std::vector<Token> tokenize(std::string_view text, bool /*add_special*/,
                              bool /*parse_special*/) const override {
    std::vector<Token> tokens;
    for (const char byte : text) {
      const auto found = std::ranges::find(pieces_, std::string(1, byte));
      if (found == pieces_.end()) throw InvalidArgument("the fake has no token for this text");
      tokens.push_back(static_cast<Token>(found - pieces_.begin()));
    }
    return tokens;
  }

  std::string detokenize(const std::vector<Token>& tokens, bool /*special*/) const override {
    std::string text;
    for (const Token token : tokens) text += pieces_.at(static_cast<std::size_t>(token));
    return text;
  }

 private:
  std::vector<std::string> pieces_;
};

std::unique_ptr<PyEngine> fake_engine(const FakeOptions& target,
                                      const std::optional<FakeOptions>& draft,
                                      const std::vector<py::bytes>& pieces, bool measure_costs,
                                      const std::optional<PairProfile>& profile, bool lookup,
                                      bool lookup_answers, const std::vector<CorpusText>& corpus) {
  EngineParts parts;
  parts.pieces.assign(pieces.begin(), pieces.end());
  parts.target = [target] { return make_fake_target(target); };
  if (draft) parts.draft = [draft = *draft] { return make_fake_draft(draft); };
  parts.measure_costs_us = measure_costs ? kMeasureCostsUs : 0;
  parts.profile = profile.value_or(PairProfile());
  auto tokenizer = std::make_shared<FakeTokenizer>(parts.pieces);
  TextSources(lookup, lookup_answers, corpus).give_to(parts, *tokenizer, [] { return true; });
  return without_gil([&] {
    auto engine = std::make_unique<PyEngine>(std::make_unique<Engine>(std::move(parts)),
                                             std::move(tokenizer));
    engine->lookup = lookup;
    return engine;
  });
}

}  // namespace

void register_fake(py::module_& m) {
  py::class_<FakeOptions>(m, "_FakeOptions", "A programmable model without weights.")
      .def(py::init<>())
      .def_readwrite("n_vocab", &FakeOptions::n_vocab)
      .def_readwrite("n_ctx", &FakeOptions::n_ctx)
      .def_readwrite("n_seq", &FakeOptions::n_seq)
      .def_readwrite("n_branches", &FakeOptions::n_branches)
      .def_readwrite("max_batch", &FakeOptions::max_batch)
      .def_readwrite("model_seed", &FakeOptions::model_seed)
      .def_readwrite("alignment", &FakeOptions::alignment)
      .def_readwrite("sharpness", &FakeOptions::sharpness)
      .def_readwrite("n_feature_layers", &FakeOptions::n_feature_layers)
      .def_readwrite("end_every", &FakeOptions::end_every)
      .def_readwrite("step_us", &FakeOptions::step_us)
      .def_readwrite("fail_at_step", &FakeOptions::fail_at_step)
      .def_readwrite("fail_fatally", &FakeOptions::fail_fatally)
      .def_readwrite("n_feature_layers", &FakeOptions::n_feature_layers);

  m.def(
      "_gumbel",
      [](std::uint64_t seed, Pos position, Token token) {
        return PositionNoise(seed, position).gumbel(token);
      },
      py::arg("seed").noconvert(), py::arg("position").noconvert(), py::arg("token").noconvert(),
      "The noise of the choice rule.");

  m.def("_fake_engine", &fake_engine, py::arg("target"), py::arg("draft"), py::arg("pieces"),
        py::kw_only(), py::arg("measure_costs") = false, py::arg("profile") = py::none(),
        py::arg("lookup") = true, py::arg("lookup_answers") = true,
        py::arg("corpus") = std::vector<CorpusText>(),
        "An engine of fakes whose tokens are `pieces`.");
}

}  // namespace specbranch::bindings
