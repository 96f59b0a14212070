#include "specbranch/llama/vocabulary/compatible.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "llama.h"
#include "specbranch/base/errors.h"
#include "specbranch/llama/vocabulary/quote.h"

namespace specbranch::llama {
namespace {

constexpr int kPadding = 128;  // what llama.cpp's own server admits
constexpr int kShare = 20;     // one of 20: 5 %
constexpr int kMostShown = 3;  // differences in a message

constexpr std::string_view kAdvice =
    "a draft needs the target's tokenizer: take a smaller model of the target's own family and "
    "generation";

std::string_view kind_of(const Vocabulary& vocabulary) {
  switch (llama_vocab_type(vocabulary.get())) {
    case LLAMA_VOCAB_TYPE_SPM:
      return "SentencePiece BPE";
    case LLAMA_VOCAB_TYPE_BPE:
      return "byte-level BPE";
    case LLAMA_VOCAB_TYPE_WPM:
      return "WordPiece";
    case LLAMA_VOCAB_TYPE_UGM:
      return "Unigram";
    case LLAMA_VOCAB_TYPE_RWKV:
      return "RWKV";
    case LLAMA_VOCAB_TYPE_PLAMO2:
      return "PLaMo-2";
    default:
      return "unknown";
  }
}

std::string name_of(const Vocabulary& vocabulary, Token token) {
  if (!vocabulary.contains(token)) return "none";
  return std::to_string(token) + " " + quote(llama_vocab_get_text(vocabulary.get(), token));
}

bool same_kind(const Vocabulary& target, const Vocabulary& draft) {
  return llama_vocab_type(target.get()) == llama_vocab_type(draft.get());
}

bool same_text(const Vocabulary& target, const Vocabulary& draft, Token token) {
  const std::string& piece = target.piece(token);
  if (!piece.empty() && piece == draft.piece(token)) return true;
  // A token without a piece is a control token, a reserved one or, to one side, a plain text.
  if (std::string_view(llama_vocab_get_text(target.get(), token)) !=
      llama_vocab_get_text(draft.get(), token)) {
    return false;
  }
  return same_kind(target, draft) || piece.empty() || draft.piece(token).empty();
}

std::string kinds_of(const Vocabulary& target, const Vocabulary& draft) {
  return "target " + std::string(kind_of(target)) + ", draft " + std::string(kind_of(draft));
}

std::string differences(const Vocabulary& target, const Vocabulary& draft,
                        const std::vector<Token>& different) {
  std::string text;
  for (std::size_t i = 0; i < different.size() && i < kMostShown; ++i) {
    const Token token = different[i];
    text += (i > 0 ? ", token " : "token ") + std::to_string(token) + " is " +
            quote(llama_vocab_get_text(target.get(), token)) + " in the target and " +
            quote(llama_vocab_get_text(draft.get(), token)) + " in the draft";
  }
  return text;
}

[[noreturn]] void refuse(const std::string& what) {
  throw IncompatibleModels("[check_compatible] " + what + "; " + std::string(kAdvice));
}

void check_sizes(int target, int draft) {
  const int limit = std::max(kPadding, std::max(target, draft) / kShare);
  if (std::abs(target - draft) <= limit) return;
  refuse("the sizes of the vocabularies differ too much; target " + std::to_string(target) +
         ", draft " + std::to_string(draft) + "; by at most " + std::to_string(limit));
}

/// Notes about what only the target's side decides.
void note_special_tokens(const Vocabulary& target, const Vocabulary& draft,
                         std::vector<std::string>& notes) {
  const auto token = [&](std::string_view what, Token of_target, Token of_draft) {
    if (of_target == of_draft) return;
    notes.push_back("the draft has another " + std::string(what) + " token (target " +
                    name_of(target, of_target) + ", draft " + name_of(draft, of_draft) +
                    "); only the target's counts");
  };
  const auto setting = [&](std::string_view what, bool of_target, bool of_draft) {
    if (of_target == of_draft) return;
    notes.push_back("the " + std::string(of_target ? "target" : "draft") + " adds " +
                    std::string(what) + " token to a prompt and the " +
                    std::string(of_target ? "draft" : "target") +
                    " does not; only the target's setting counts");
  };
  token("BOS", target.bos(), draft.bos());
  setting("a BOS", target.adds_bos(), draft.adds_bos());
  token("EOS", target.eos(), draft.eos());
  setting("an EOS", target.adds_eos(), draft.adds_eos());
}

}  // namespace

SharedVocabulary check_compatible(const Vocabulary& target, const Vocabulary& draft) {
  check_sizes(target.size(), draft.size());
  SharedVocabulary shared;
  shared.n_common = std::min(target.size(), draft.size());
  for (Token token = 0; token < shared.n_common; ++token) {
    if (!same_text(target, draft, token)) shared.different.push_back(token);
  }
  const auto n_different = static_cast<int>(shared.different.size());
  if (n_different > shared.n_common / kShare) {
    const std::string kinds =
        same_kind(target, draft) ? "" : " (kinds of tokenizers: " + kinds_of(target, draft) + ")";
    refuse("the vocabularies differ in " + std::to_string(n_different) + " of " +
           std::to_string(shared.n_common) + " tokens, more than 5 %" + kinds + "; " +
           differences(target, draft, shared.different));
  }
  if (n_different > 0) {
    shared.notes.push_back((n_different == 1 ? std::string("1 token has")
                                             : std::to_string(n_different) + " tokens have") +
                           " another text in the draft, so the draft never proposes " +
                           (n_different == 1 ? "it" : "them") + ": " +
                           differences(target, draft, shared.different) +
                           (n_different > kMostShown ? ", and so on" : ""));
  }
  if (!same_kind(target, draft)) {
    shared.notes.push_back("the models have different kinds of tokenizers (" +
                           kinds_of(target, draft) + "); only the target's reads the prompt");
  }
  note_special_tokens(target, draft, shared.notes);
  return shared;
}

}  // namespace specbranch::llama
