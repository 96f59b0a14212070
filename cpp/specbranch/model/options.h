/// The options of one generation, and their validation.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "specbranch/base/types.h"
#include "specbranch/model/sampling_options.h"

namespace specbranch {

/// Bounds of `max_draft` (and gamma) and of `max_branches`.
inline constexpr int kMaxDraft = 64;
inline constexpr int kMaxBranches = 32;
inline constexpr int kMaxParallel = 16;  ///< generations at once.

enum class Mode : std::uint8_t { kAutoregressive, kSpeculative, kPearl, kSpecBranch, kAuto };

/// Name of a mode as users write it.
std::string_view to_string(Mode mode);

/// The mode of that name; throws InvalidArgument naming the valid ones.
Mode parse_mode(std::string_view name);

struct HradWeights;
class ProcessorChannel;
class Progress;

/// How far to draft, and where to branch.
struct PolicyOptions {
  enum class Kind : std::uint8_t {
    kFixed,
    kConfidence,
    kAdaEdl,  ///< a threshold of the confidences' entropy, adapted on line (arXiv:2410.18351).
    kHrad,    ///< a classifier on the target's features decides what is kept of a window.
    kHook,    ///< the caller plans each round; kConfidence where no reader waits.
  };
  Kind kind = Kind::kConfidence;
  int gamma = 8;  ///< kFixed: tokens a round; the mode's `max_draft` bounds it.
  /// kConfidence, kHrad, kHook: stop or branch at the first token below this confidence.
  double epsilon = 0.4;
  double lambda = 0.6;      ///< kAdaEdl: the threshold to begin with.
  double acceptance = 0.9;  ///< kAdaEdl: share of submitted tokens that should be accepted.
  std::shared_ptr<const HradWeights> hrad;  ///< kHrad only.
  /// kHrad: least probability with which the classifier decides; below, the confidence does.
  double min_probability = 0.0;
};

/// A LoRA adapter of the target, and how strongly it acts.
struct AdapterScale {
  int index = 0;       ///< in the order in which the adapters were loaded.
  float scale = 1.0F;  ///< finite; 0: off.

  friend bool operator==(const AdapterScale&, const AdapterScale&) = default;
};

/// The adapters that act on a text: each once, in their order, none with a scale of 0. Texts with
/// equal sets, and no others, are computed by the same function.
using AdapterSet = std::vector<AdapterScale>;

/// The set of these scales, of which none has an index twice.
AdapterSet active_adapters(std::span<const AdapterScale> scales);

/// One call of `Engine::generate`.
struct Request {
  std::vector<Token> prompt;  ///< at least one token.
  /// Of a draft whose context is shorter than the text: tokens of the text before `prompt`.
  /// Positions of the noise count them.
  Pos n_skipped = 0;
  int max_tokens = -1;  ///< generated tokens at most; negative: until the context is full.
  /// Generated tokens before which nothing ends the text: end tokens and `stop_tokens` are not
  /// chosen, and `stop` is not looked for.
  int min_tokens = 0;
  SamplingOptions sampling;
  /// Of the target; one that is not named is off. None: as the target was loaded.
  std::optional<std::vector<AdapterScale>> adapters;
  std::vector<std::string> stop;  ///< bytes; the text is cut before the first that appears.
  /// They end the text as the model's own end tokens do: the text stops before them.
  std::vector<Token> stop_tokens;
  int logprobs = -1;  ///< alternatives a token; negative: no logprobs at all.
  /// The same for the tokens of the prompt, which the target then reads without any reuse.
  int prompt_logprobs = -1;
  Mode mode = Mode::kSpecBranch;
  PolicyOptions policy;
  int max_draft = 8;     ///< tokens drafted past the branch point (a chain's length) at most.
  int max_branches = 4;  ///< branches at most; `specbranch` only.
  bool trace = false;    ///< record what each model did when (`GenerationEnd::trace`).
  /// Layers of the target whose inputs are wanted with every verification
  /// (`Verification::features`); 0: none.
  int n_feature_layers = 0;
  /// The target asks functions of the caller here before every choice; null: there are none. Nobody
  /// else may use the channel. The engine closes it.
  std::shared_ptr<ProcessorChannel> processors;
  /// A text that the answer probably resembles (OpenAI's "predicted output"): a further source of
  /// drafts from the text. The answer does not depend on it.
  std::vector<Token> prediction;
  /// False: nothing is drafted from texts, the prediction included. The answer may still be
  /// remembered.
  bool lookup = true;
  /// False: earlier answers propose nothing here, and this answer is not remembered.
  bool lookup_answers = true;
  std::shared_ptr<Progress> progress;  ///< told how far it is; the engine's to set.

  bool scores_prompt() const { return prompt_logprobs >= 0; }

  /// The position from which the text may end.
  Pos may_end_from() const;

  bool is_stop(Token token) const;
};

/// Whether texts and grammars may propose tokens in this mode: with a draft model only `auto` joins
/// them in one tree.
constexpr bool takes_proposals(Mode mode, bool has_draft) {
  return mode == Mode::kAuto || (mode == Mode::kSpeculative && !has_draft);
}

/// Throws InvalidArgument for the first token of `text` that is not in a vocabulary of `n_vocab`:
/// "`name` token i is ...".
void check_tokens(std::span<const Token> text, const std::string& name, int n_vocab);

/// Throws InvalidArgument for the first setting of `request` that is out of range.
/// `n_vocab` bounds token ids, `n_adapters` indexes of adapters.
void validate(const Request& request, int n_vocab, int n_adapters = 0);

}  // namespace specbranch
