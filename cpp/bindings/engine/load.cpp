#include "bindings/engine/load.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bindings/engine/engine.h"
#include "bindings/engine/model_tokenizer.h"
#include "bindings/engine/tensor_feed.h"
#include "bindings/engine/text_sources.h"
#include "bindings/library/gil.h"
#include "specbranch/base/channel.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/context/context.h"
#include "specbranch/llama/context/sizes.h"
#include "specbranch/llama/file/model_options.h"
#include "specbranch/llama/file/weights.h"
#include "specbranch/llama/models/exact_target.h"
#include "specbranch/llama/models/factory.h"
#include "specbranch/llama/runtime/rpc.h"
#include "specbranch/llama/vocabulary/compatible.h"

namespace py = pybind11;

namespace specbranch::bindings {
namespace {

using llama::ModelOptions;
using llama::PrefixReuse;
using llama::Weights;

/// Everything that `load_engine` was told.
struct EngineSpec {
  ModelOptions target;
  std::optional<ModelOptions> draft;
  llama::TensorFill fill_target = nullptr;  ///< empty: the file holds the weights.
  llama::TensorFill fill_draft = nullptr;
  int max_draft = 8;
  int max_branches = 4;
  int n_parallel = 1;
  PrefixReuse prefix_reuse = PrefixReuse::kExact;
  bool bit_exact = false;
  std::optional<llama::RowPadding> padding;  ///< of `bit_exact`; none: to be found out.
  std::int64_t measure_costs_us = 0;
  PairProfile profile;
  TextSources sources;
};

/// What has to be said where a model was asked for `asked` positions and has not learned so many.
std::vector<std::string> beyond_positions(const std::string& role, const llama::ModelFile& file,
                                          int asked) {
  if (file.n_positions == 0 || asked <= file.n_positions) return {};
  return {"the " + role + " has learned " + std::to_string(file.n_positions) +
          " positions, so its context has as many, not " + std::to_string(asked)};
}

/// Beyond its training a draft guesses badly. What has to be said about its context, where the
/// target's is `n_ctx`.
std::vector<std::string> beyond_training(const ModelOptions& draft, const llama::ModelFile& file,
                                         int n_ctx) {
  const int trained = file.n_ctx_train;
  const int asked = draft.n_ctx > 0 ? draft.n_ctx : draft.within_training ? n_ctx : trained;
  if (file.n_positions > 0) return beyond_positions("draft", file, asked);
  if (asked <= trained) return {};
  const std::string begin =
      "the draft was trained with a context of " + std::to_string(trained) + " tokens, and ";
  if (!draft.within_training) {
    return {begin + "its context has " + std::to_string(asked) +
            "; beyond its training its guesses are poor"};
  }
  return {begin + "the context has " + std::to_string(asked) +
          "; of a longer text it reads the end (draft_n_ctx=" + std::to_string(asked) +
          " lets it read all)"};
}

std::string ignored_norms(const llama::AdapterFile& adapter) {
  return "llama.cpp ignores the " + std::to_string(adapter.n_ignored) +
         " vectors of norms in the adapter " + adapter.path;
}

using Report = std::function<bool(double share)>;

/// How batches are padded for `bit_exact`: as it was found before, or by a test of `target`, which
/// may be loaded anew. None without that option.
std::optional<llama::ExactRows> find_rows(EngineSpec& spec, std::shared_ptr<const Weights>& target,
                                          int max_verify, const llama::LoadWeights& load_target,
                                          const std::function<bool()>& stop) {
  if (!spec.bit_exact || !target->can_roll_back()) return std::nullopt;
  if (spec.padding) return llama::ExactRows{*spec.padding, spec.target.use_extra_bufts};
  return llama::find_exact_rows(target, spec.target, max_verify, load_target, stop);
}

/// Throws InvalidArgument if several texts at once are impossible with these options.
void check_parallel(const EngineSpec& spec, const Weights& target) {
  if (spec.n_parallel == 1) return;
  const std::string what = "n_parallel is " + std::to_string(spec.n_parallel);
  if (spec.bit_exact) {
    throw InvalidArgument(what +
                          "; with bit_exact it must be 1, because the order of the cells in "
                          "a cache of several texts changes the last bits");
  }
  if (llama::kept_window(target, spec.target) > 0) {
    throw InvalidArgument(what + "; with swa_full=False it must be 1");
  }
}

/// Loads both models and measures them; `report` gets the share of all bytes loaded so far and says
/// whether to go on.
std::unique_ptr<PyEngine> load(EngineSpec spec, const Report& report) {
  if (spec.draft && spec.prefix_reuse == PrefixReuse::kOff) spec.draft->cache_ram = 0;
  llama::validate(spec.target);
  if (spec.draft) llama::validate(*spec.draft);
  llama::plan_threads(spec.target, spec.draft ? &*spec.draft : nullptr);

  const llama::PairSizes sizes = llama::pair_sizes(
      spec.max_draft, spec.max_branches, spec.draft.value_or(spec.target), spec.n_parallel);
  if (spec.draft) llama::check_draft_batch(*spec.draft, sizes, spec.max_branches);

  // Both headers first: a bad draft is found before a large target is read.
  const llama::ModelFile target_file =
      llama::inspect_model_file(spec.target.path, !spec.fill_target);
  const auto target_bytes = static_cast<double>(target_file.weight_bytes);
  double draft_bytes = 0;
  const int asked = spec.target.n_ctx > 0 ? spec.target.n_ctx : target_file.n_ctx_train;
  const int n_ctx = llama::context_length(target_file, spec.target);
  std::vector<std::string> warnings = beyond_positions("target", target_file, asked);
  if (spec.draft) {
    const llama::ModelFile file = llama::inspect_model_file(spec.draft->path, !spec.fill_draft);
    draft_bytes = static_cast<double>(file.weight_bytes);
    std::ranges::move(beyond_training(*spec.draft, file, n_ctx), std::back_inserter(warnings));
  }
  const double total = std::max(1.0, target_bytes + draft_bytes);

  const auto load_target = [&](const ModelOptions& options) {
    return Weights::load(
        options, [&](float share) { return report(share * target_bytes / total); },
        spec.fill_target);
  };
  // Weights that come from elsewhere are never repacked.
  if (spec.fill_target) spec.target.use_extra_bufts = false;
  auto target = load_target(spec.target);
  if (spec.bit_exact && llama::kept_window(*target, spec.target) > 0) {
    throw InvalidArgument(
        "bit_exact needs swa_full: where only windows are kept, the logits depend on the order of "
        "the cells");
  }
  check_parallel(spec, *target);
  llama::TargetOptions target_options;
  target_options.n_seq = spec.n_parallel;
  target_options.prefix_reuse = spec.prefix_reuse;
  target_options.max_batch = sizes.max_verify;
  if (!spec.bit_exact && !llama::uses_rpc(target->get())) {
    target_options.max_branches = llama::kMostBranches;
  }
  const std::optional<llama::ExactRows> rows =
      find_rows(spec, target, sizes.max_verify, load_target, [&report] { return !report(0.0); });
  if (rows) {
    target_options.row_multiple = rows->padding.multiple;
    target_options.max_batch = std::min(sizes.max_verify, rows->padding.max_path);
  }
  EngineParts parts;
  if (spec.bit_exact && !target->can_roll_back()) {
    target_options.max_batch = 1;
    parts.why_no_speculation =
        "bit_exact cannot test the batches of a recurrent or hybrid model, so that it decodes one "
        "token at a time: its mode is autoregressive";
  }
  parts.pieces.reserve(static_cast<std::size_t>(target->vocabulary().size()));
  for (Token token = 0; token < target->vocabulary().size(); ++token) {
    parts.pieces.push_back(target->vocabulary().piece(token));
  }
  parts.target = llama::target_factory(target, spec.target, target_options);

  std::vector<std::string> notes;
  if (spec.draft) {
    const auto draft = Weights::load(
        *spec.draft,
        [&](float share) { return report((target_bytes + share * draft_bytes) / total); },
        spec.fill_draft);
    llama::DraftOptions draft_options;
    llama::SharedVocabulary shared =
        llama::check_compatible(target->vocabulary(), draft->vocabulary());
    draft_options.n_common = shared.n_common;
    draft_options.never_proposed = std::move(shared.different);
    notes = std::move(shared.notes);
    draft_options.n_seq = sizes.n_seq;
    draft_options.reserve = sizes.reserve;
    draft_options.n_texts = spec.n_parallel;
    parts.draft = llama::draft_factory(draft, *spec.draft, draft_options);
  }
  parts.n_parallel = spec.n_parallel;
  parts.profile = std::move(spec.profile);
  parts.measure_costs_us = spec.measure_costs_us;
  parts.stop_measuring = [&report] { return !report(1.0); };
  const auto tokenizer = std::make_shared<ModelTokenizer>(target);
  spec.sources.give_to(parts, *tokenizer, [&report] { return report(1.0); });
  const bool lookup = parts.lookup;
  auto self = std::make_unique<PyEngine>(std::make_unique<Engine>(std::move(parts)), tokenizer);
  self->lookup = lookup;
  self->exact_rows = rows;
  for (const llama::Adapter& adapter : target->adapters()) {
    if (adapter.file.n_ignored > 0) warnings.push_back(ignored_norms(adapter.file));
    self->adapters.push_back(adapter.file);
  }
  self->notes = std::move(notes);
  self->warnings = std::move(warnings);
  return self;
}

/// Runs `load` on a thread of its own while the caller's thread hands on what it reports: Python
/// code and signal handlers run there and nowhere else.
class LoadJob {
 public:
  /// The sources give the weights of the target and of the draft; None: their files do.
  LoadJob(EngineSpec spec, py::object target_source, py::object draft_source)
      : target_feed_(std::move(target_source)), draft_feed_(std::move(draft_source)) {
    if (!target_feed_.empty()) spec.fill_target = fill_from(target_feed_);
    if (!draft_feed_.empty()) spec.fill_draft = fill_from(draft_feed_);
    thread_ = std::jthread([this, spec = std::move(spec)]() mutable { run(std::move(spec)); });
  }

  /// `idle` is called with the GIL at least every slice, with the share loaded so far if it grew.
  template <class Idle>
  std::unique_ptr<PyEngine> wait(const Idle& idle) {
    try {
      while (!shares_.closed_and_empty()) {
        const std::optional<double> share = without_gil([&] { return latest(); });
        idle(share);
        check_signals();
        target_feed_.serve();
        draft_feed_.serve();
      }
    } catch (...) {
      stop_.store(true);
      target_feed_.stop();
      draft_feed_.stop();
      without_gil([&] {
        join();
        engine_.reset();  // it may be complete: its threads end, and its models are freed
        return true;
      });
      throw;
    }
    without_gil([&] { return join(); });
    if (error_) std::rethrow_exception(error_);
    return std::move(engine_);
  }

 private:
  void run(EngineSpec spec) {
    try {
      engine_ = load(std::move(spec), [this](double share) {
        share_ = share;
        shares_.send(share);
        return !stop_.load();
      });
      shares_.send(1.0);
    } catch (...) {
      error_ = std::current_exception();
    }
    shares_.close();
  }

  std::optional<double> latest() {
    std::optional<double> share = shares_.receive_for(kSlice);
    while (const std::optional<double> later = share ? shares_.try_receive() : std::nullopt) {
      share = later;
    }
    return share;
  }

  bool join() {
    thread_.join();
    return true;
  }

  /// What asks `feed` and wakes the caller's thread, which waits for a share.
  llama::TensorFill fill_from(TensorFeed& feed) {
    return [this, &feed](const std::string& name, std::span<std::byte> bytes) {
      feed.fill(name, bytes, [this] { shares_.send(share_); });
    };
  }

  TensorFeed target_feed_;
  TensorFeed draft_feed_;
  double share_ = 0.0;  ///< the last one; of the loading thread.
  Channel<double> shares_;
  std::atomic<bool> stop_{false};
  std::exception_ptr error_;
  std::unique_ptr<PyEngine> engine_;
  std::jthread thread_;
};

PrefixReuse parse_prefix_reuse(const std::string& name) {
  if (name == "exact") return PrefixReuse::kExact;
  if (name == "fast") return PrefixReuse::kFast;
  if (name == "off") return PrefixReuse::kOff;
  throw InvalidArgument("prefix_reuse is '" + name + "'; it must be one of exact, fast, off");
}

void check_range(const char* name, int value, int high) {
  if (value < 1 || value > high) {
    throw InvalidArgument(std::string(name) + " is " + std::to_string(value) +
                          "; it must be in 1 .. " + std::to_string(high));
  }
}

using AdapterList = std::vector<std::pair<py::bytes, float>>;

AdapterList adapter_list(const ModelOptions& options) {
  AdapterList found;
  for (const auto& [path, scale] : options.adapters) found.emplace_back(path, scale);
  return found;
}

void set_adapter_list(ModelOptions& options, const AdapterList& adapters) {
  options.adapters.clear();
  for (const auto& [path, scale] : adapters) options.adapters.push_back({path, scale});
}

std::unique_ptr<PyEngine> load_engine(ModelOptions target, std::optional<ModelOptions> draft,
                                      int max_draft, int max_branches, int n_parallel,
                                      const std::string& prefix_reuse, bool bit_exact,
                                      std::optional<llama::RowPadding> row_padding,
                                      bool measure_costs, PairProfile profile, bool lookup,
                                      bool lookup_answers, const std::vector<CorpusText>& corpus,
                                      const std::function<void(std::optional<double>)>& idle,
                                      py::object target_source, py::object draft_source) {
  check_range("max_draft", max_draft, kMaxDraft);
  check_range("max_branches", max_branches, kMaxBranches);
  check_range("n_parallel", n_parallel, kMaxParallel);
  EngineSpec spec{.target = std::move(target),
                  .draft = std::move(draft),
                  .max_draft = max_draft,
                  .max_branches = max_branches,
                  .n_parallel = n_parallel,
                  .prefix_reuse = parse_prefix_reuse(prefix_reuse),
                  .bit_exact = bit_exact,
                  .padding = row_padding,
                  .measure_costs_us = measure_costs ? kMeasureCostsUs : 0,
                  .profile = std::move(profile),
                  .sources = TextSources(lookup, lookup_answers, corpus)};
  LoadJob job(std::move(spec), std::move(target_source), std::move(draft_source));
  return job.wait(idle);
}

}  // namespace

void register_load(py::module_& m) {
  py::class_<ModelOptions>(m, "ModelOptions", "How one model is loaded and run.")
      .def(py::init([](const py::bytes& path) {
             ModelOptions options;
             options.path = path;
             return options;
           }),
           py::arg("path"))
      .def("__copy__", [](const ModelOptions& options) { return options; })
      .def_property_readonly("path",
                             [](const ModelOptions& options) { return py::bytes(options.path); })
      .def_property("adapters", &adapter_list, &set_adapter_list,
                    "Paths of LoRA adapters, and scales.")
      .def_readwrite("n_gpu_layers", &ModelOptions::n_gpu_layers)
      .def_readwrite("main_gpu", &ModelOptions::main_gpu)
      .def_readwrite("devices", &ModelOptions::devices)
      .def_readwrite("split_mode", &ModelOptions::split_mode)
      .def_readwrite("tensor_split", &ModelOptions::tensor_split)
      .def_readwrite("use_mmap", &ModelOptions::use_mmap)
      .def_readwrite("use_mlock", &ModelOptions::use_mlock)
      .def_readwrite("check_tensors", &ModelOptions::check_tensors)
      .def_readwrite("use_extra_bufts", &ModelOptions::use_extra_bufts)
      .def_readwrite("n_ctx", &ModelOptions::n_ctx)
      .def_readwrite("within_training", &ModelOptions::within_training)
      .def_readwrite("n_ctx_total", &ModelOptions::n_ctx_total)
      .def_readwrite("cache_ram", &ModelOptions::cache_ram)
      .def_readwrite("n_batch", &ModelOptions::n_batch)
      .def_readwrite("n_ubatch", &ModelOptions::n_ubatch)
      .def_property(
          "flash_attn",
          [](const ModelOptions& options) {
            return options.flash_attn != llama::FlashAttention::kOff;
          },
          [](ModelOptions& options, bool on) {
            options.flash_attn = on ? llama::FlashAttention::kOn : llama::FlashAttention::kOff;
          })
      .def_readwrite("type_k", &ModelOptions::type_k)
      .def_readwrite("type_v", &ModelOptions::type_v)
      .def_readwrite("offload_kqv", &ModelOptions::offload_kqv)
      .def_readwrite("swa_full", &ModelOptions::swa_full)
      .def_readwrite("n_threads", &ModelOptions::n_threads)
      .def_readwrite("n_threads_batch", &ModelOptions::n_threads_batch)
      .def_readwrite("cpus", &ModelOptions::cpus);

  const char* plan =
      "Sets the numbers of threads that are 0, and the CPUs of a draft that needs some, as loading "
      "does.";
  const auto plan_threads = [](ModelOptions& target, ModelOptions* draft, bool other_hosts) {
    if (other_hosts) {
      llama::plan_threads(target, draft, {true, llama::this_processor()});
    } else {
      llama::plan_threads(target, draft);
    }
  };
  m.def(
      "plan_threads",
      [plan_threads](ModelOptions& target, bool other_hosts) {
        plan_threads(target, nullptr, other_hosts);
      },
      py::arg("target"), py::kw_only(), py::arg("other_hosts") = false, plan);
  m.def(
      "plan_threads",
      [plan_threads](ModelOptions& target, ModelOptions& draft, bool other_hosts) {
        plan_threads(target, &draft, other_hosts);
      },
      py::arg("target"), py::arg("draft"), py::kw_only(), py::arg("other_hosts") = false, plan);

  m.def("load_engine", &load_engine, py::arg("target"), py::arg("draft"), py::kw_only(),
        py::arg("max_draft"), py::arg("max_branches"), py::arg("n_parallel") = 1,
        py::arg("prefix_reuse"), py::arg("bit_exact"), py::arg("row_padding") = py::none(),
        py::arg("measure_costs"), py::arg("profile"), py::arg("lookup") = true,
        py::arg("lookup_answers") = true, py::arg("corpus") = std::vector<CorpusText>(),
        py::arg("idle"), py::arg("target_source") = py::none(),
        py::arg("draft_source") = py::none(),
        "Loads the models on other threads. Meanwhile `idle` is called on this one, at least every "
        "50 ms: with the share loaded so far, or None when it has not grown. What it raises stops "
        "the loading. A "
        "source gives the weights of a model whose file lacks them: its "
        "`fill(name)` is called on this thread and returns an array with the tensor's bytes.");
}

}  // namespace specbranch::bindings
