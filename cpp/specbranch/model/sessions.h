/// The open sessions of a model.
#pragma once

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/base/types.h"

namespace specbranch {

/// `Session`: what a model keeps for one generation.
template <class Session>
class Sessions {
 public:
  /// Opens a session; one that is open is replaced.
  Session& open(GenerationId id, Session session) {
    sessions_.erase(id);
    return sessions_.emplace(id, std::move(session)).first->second;
  }

  /// Throws PreconditionError that names `method`, if the session is not open.
  Session& at(GenerationId id, const char* method) {
    const auto found = sessions_.find(id);
    if (found == sessions_.end()) {
      throw PreconditionError("[" + std::string(method) + "] session " + std::to_string(id) +
                              " is not open");
    }
    return found->second;
  }

  /// Null: it is not open.
  Session* find(GenerationId id) {
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : &found->second;
  }

  /// `holds` is true for one that is open.
  template <class Predicate>
  bool any_of(Predicate holds) const {
    return std::ranges::any_of(sessions_, [&holds](const auto& one) { return holds(one.second); });
  }

  bool empty() const { return sessions_.empty(); }

  void close(GenerationId id) { sessions_.erase(id); }

 private:
  std::unordered_map<GenerationId, Session> sessions_;
};

}  // namespace specbranch
