#include "specbranch/lookup/lookup_proposer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace specbranch {
namespace {

constexpr int kLongMatch = 8;  ///< tokens from which a match is a place to copy from.

/// Follows a match that is long enough to be no accident.
void follow(CopyCursor& copy, const SuffixAutomaton::Continuation& found) {
  if (found.token >= 0 && found.length >= kLongMatch && found.length > copy.length) {
    copy.jump(found.pos, found.length);
  }
}

}  // namespace

LookupTexts texts_of(const Request& request, std::shared_ptr<SuffixAutomaton> begun) {
  LookupTexts texts;
  texts.own = automaton_of(request.prompt, std::move(begun));
  if (!request.prediction.empty()) texts.prediction = automaton_of(request.prediction);
  return texts;
}

std::unique_ptr<Proposer> text_proposer(const Request& request, LookupTexts texts,
                                        PairProfile* profile) {
  if (!texts.own) return nullptr;
  const int of_temperature = temperature_class(request.sampling.temperature);
  return std::make_unique<LookupProposer>(
      std::move(texts), &profile->lookup[static_cast<std::size_t>(of_temperature)]);
}

LookupProposer::LookupProposer(LookupTexts texts, LookupTable* table)
    : texts_(std::move(texts)), acceptance_(table) {
  acceptance_.begin_text();
  end_.match = texts_.own->match();
  follow(end_.copy, texts_.own->next(end_.match));
  // The answer probably begins as the prediction does.
  if (texts_.prediction) end_.prediction.jump(0, kLongMatch);
  const std::span<const Token> text = texts_.own->text();
  for (const auto& pool : texts_.pools) end_.places.push_back(pool->find(text));
}

LookupProposer::Guesses LookupProposer::guesses(const Cursor& cursor) const {
  Guesses found;
  const auto set = [&](LookupKind kind, Token token, int length, bool unique) {
    const auto i = static_cast<std::size_t>(kind);
    found[i] = Guess{token, {kind, length, unique, cursor.right[i]}};
  };
  const auto set_copy = [&](LookupKind kind, const CopyCursor& copy, std::span<const Token> text) {
    if (!copy.active(text)) return;
    set(kind, text[static_cast<std::size_t>(copy.next)], copy.length, copy.n_lost == 0);
  };
  const SuffixAutomaton::Continuation next = texts_.own->next(cursor.match);
  if (next.token >= 0) set(LookupKind::kMatch, next.token, next.length, next.unique);
  set_copy(LookupKind::kCopy, cursor.copy, texts_.own->text());
  if (texts_.prediction) {
    set_copy(LookupKind::kPrediction, cursor.prediction, texts_.prediction->text());
  }
  int longest = 0;
  for (std::size_t i = 0; i < cursor.places.size(); ++i) {
    const TextPool::Place& place = cursor.places[i];
    const Token token = texts_.pools[i]->token(place);
    if (token < 0 || place.length <= longest) continue;
    longest = place.length;
    set(LookupKind::kPool, token, place.length, true);
  }
  return found;
}

void LookupProposer::advance(Cursor& cursor, Token token, bool committed) const {
  const SuffixAutomaton& own = *texts_.own;
  cursor.match = committed ? own.match() : own.step(cursor.match, token);
  cursor.copy.step(own.text(), token);
  follow(cursor.copy, own.next(cursor.match));
  if (texts_.prediction) {
    const SuffixAutomaton& prediction = *texts_.prediction;
    cursor.prediction_match = prediction.step(cursor.prediction_match, token);
    cursor.prediction.step(prediction.text(), token);
    follow(cursor.prediction, prediction.next(cursor.prediction_match));
  }
  for (std::size_t i = 0; i < cursor.places.size(); ++i) {
    TextPool::Place& place = cursor.places[i];
    const TextPool& pool = *texts_.pools[i];
    if (place.length > 0 && pool.token(place) == token) {
      place = pool.after(place);
    } else {
      // Off the text, a path is only followed where it already is.
      place = committed ? pool.find(own.text()) : TextPool::Place{};
    }
  }
}

void LookupProposer::commit(Token token) {
  const Guesses made = guesses(end_);
  for (std::size_t i = 0; i < made.size(); ++i) {
    end_.right[i] = made[i] && made[i]->token == token;
    if (made[i]) acceptance_.observe(made[i]->of, end_.right[i]);
  }
  texts_.own->append(token);
  advance(end_, token, true);
  cursors_.clear();
}

const LookupProposer::Cursor& LookupProposer::cursor_of(const SpeculationTree& tree, NodeId node) {
  if (node == tree.root()) return end_;
  if (const auto known = cursors_.find(node); known != cursors_.end()) return known->second;
  Cursor cursor = cursor_of(tree, tree.at(node).parent);
  const Token token = tree.at(node).token;
  const Guesses made = guesses(cursor);
  for (std::size_t i = 0; i < made.size(); ++i) {
    cursor.right[i] = made[i] && made[i]->token == token;
  }
  advance(cursor, token, false);
  return cursors_.emplace(node, std::move(cursor)).first->second;
}

std::optional<Proposal> LookupProposer::propose(const SpeculationTree& tree, NodeId node) {
  const Guesses made = guesses(cursor_of(tree, node));
  std::optional<Proposal> best;
  for (const std::optional<Guess>& guess : made) {
    if (!guess) continue;
    const double probability = acceptance_.probability(guess->of);
    if (best && probability <= best->probability) continue;
    best = Proposal{guess->token, probability, TokenSource::kText};
  }
  const auto& predicted = made[static_cast<std::size_t>(LookupKind::kPrediction)];
  // What the prediction proposes as well is told of the prediction.
  if (best && predicted && predicted->token == best->token) {
    best->source = TokenSource::kPrediction;
  }
  return best;
}

}  // namespace specbranch
