#include "specbranch/engine/lookup_store.h"

#include <span>
#include <utility>

namespace specbranch {
namespace {

constexpr std::size_t kAnswerTokens = std::size_t{1} << 18U;  ///< 5 MB.

std::shared_ptr<const TextPool> pool_of(const std::vector<std::vector<Token>>& texts) {
  std::size_t n = 0;
  for (const std::vector<Token>& text : texts) n += text.size() + 1;
  if (n == 0) return nullptr;
  auto pool = std::make_shared<TextPool>(n);
  for (const std::vector<Token>& text : texts) pool->add(text);
  return pool;
}

}  // namespace

LookupStore::LookupStore(const std::vector<std::vector<Token>>& corpus, bool answers)
    : corpus_(pool_of(corpus)),
      answers_(answers ? std::make_shared<TextPool>(kAnswerTokens) : nullptr) {}

std::shared_ptr<SuffixAutomaton> LookupStore::take_last() {
  const std::lock_guard lock(mutex_);
  return std::exchange(last_, nullptr);
}

LookupTexts LookupStore::texts_of(const Request& request) {
  LookupTexts texts = specbranch::texts_of(request, take_last());
  if (corpus_) texts.pools.push_back(corpus_);
  if (answers_ && request.lookup_answers) texts.pools.push_back(answers_);
  return texts;
}

void LookupStore::keep(std::shared_ptr<SuffixAutomaton> own, std::span<const Token> answer) {
  if (answers_) answers_->add(answer);
  if (!own) return;
  const std::lock_guard lock(mutex_);
  last_ = std::move(own);
}

}  // namespace specbranch
