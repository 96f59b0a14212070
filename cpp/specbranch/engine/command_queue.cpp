#include "specbranch/engine/command_queue.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "specbranch/base/errors.h"
#include "specbranch/engine/batch_parts.h"
#include "specbranch/model/row_tree.h"

namespace specbranch {
namespace {

/// The model is as before the command, and the command itself was right.
bool may_be_repeated(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const FatalError&) {
    return false;
  } catch (const PreconditionError&) {
    return false;
  } catch (const DecodeError&) {
    return true;
  } catch (...) {
    return false;
  }
}

bool verifies_branches(const Command& command) {
  const auto* verify = std::get_if<VerifyCommand>(&command.body);
  return verify != nullptr && std::ranges::any_of(verify->segments, [](const Segment& segment) {
           return has_branches(segment.rows);
         });
}

/// What a pass decodes, by sequence.
std::vector<SequenceRows> rows_of(const Command& command) {
  std::vector<SequenceRows> rows;
  if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
    for (const Segment& one : verify->segments) {
      rows.push_back({one.seq, static_cast<int>(one.rows.size())});
    }
  } else if (const auto* draft = std::get_if<DraftCommand>(&command.body)) {
    for (const SequenceInput& one : draft->inputs) {
      rows.push_back({one.seq, static_cast<int>(one.tokens.size())});
    }
  }
  return rows;
}

SeqId first_seq(const Command& command) {
  const std::vector<SequenceRows> rows = rows_of(command);
  return rows.empty() ? 0 : rows.front().seq;
}

template <class Item>
void append(std::vector<Item>& to, const std::vector<Item>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

bool CommandQueue::is_pass(const Command& command) {
  return std::holds_alternative<VerifyCommand>(command.body) ||
         std::holds_alternative<DraftCommand>(command.body);
}

int CommandQueue::n_tokens(const Command& command) {
  if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
    return verify->n_tokens() - verify->n_pad;
  }
  return std::get<DraftCommand>(command.body).n_tokens();
}

void CommandQueue::add(Command command, GenerationId group) {
  if (verifies_branches(command)) group = kAlone;
  waiting_.push_back({std::move(command), group});
}

std::optional<Event> CommandQueue::drop(GenerationId id) {
  const auto found =
      std::ranges::find(waiting_, id, [](const Part& part) { return part.command.generation_id; });
  if (found == waiting_.end()) return std::nullopt;
  waiting_.erase(found);
  return own_event(id, AbortDone{});
}

std::vector<Event> CommandQueue::fail_waiting(const std::exception_ptr& error) {
  std::vector<Event> events;
  for (const Part& part : std::exchange(waiting_, {})) {
    events.push_back(own_event(part.command.generation_id, FailDone{error}));
  }
  return events;
}

Event CommandQueue::own_event(GenerationId id, EventBody body) const {
  Event event;
  event.role = role_;
  event.generation_id = id;
  event.body = std::move(body);
  return event;
}

bool CommandQueue::release(GenerationId id) {
  bool involved = false;
  for (Part& part : parts_) {
    if (part.command.generation_id != id) continue;
    part.wanted = false;
    involved = true;
  }
  return involved && std::ranges::none_of(parts_, &Part::wanted);
}

/// The index of the command that is next: the oldest, but no chunk after a chunk while a pass
/// waits.
std::size_t CommandQueue::first() const {
  if (!read_last_ || !std::holds_alternative<PrefillCommand>(waiting_.front().command.body)) {
    return 0;
  }
  const auto pass =
      std::ranges::find_if(waiting_, [](const Part& part) { return is_pass(part.command); });
  return pass == waiting_.end() ? 0 : static_cast<std::size_t>(pass - waiting_.begin());
}

int CommandQueue::n_waiting_tokens(GenerationId group) const {
  int n = 0;
  for (const Part& part : waiting_) {
    if (part.group == group && is_pass(part.command)) n += n_tokens(part.command);
  }
  return n;
}

std::optional<Command> CommandQueue::next() {
  if (!parts_.empty() || waiting_.empty()) return std::nullopt;
  const auto take = [this](const std::deque<Part>::iterator& at) {
    parts_.push_back(std::move(*at));
    return waiting_.erase(at);
  };
  take(waiting_.begin() + static_cast<std::ptrdiff_t>(first()));
  const GenerationId group = parts_.front().group;
  read_last_ = std::holds_alternative<PrefillCommand>(parts_.front().command.body);
  if (is_pass(parts_.front().command) && group != kAlone) {
    int n = n_tokens(parts_.front().command);
    for (auto at = waiting_.begin(); at != waiting_.end();) {
      const bool fits =
          at->group == group && is_pass(at->command) && n + n_tokens(at->command) <= max_tokens_;
      if (fits) n += n_tokens(at->command);
      at = fits ? take(at) : at + 1;
    }
  }
  if (splits_at_gaps_ && parts_.size() > 1) {
    std::ranges::sort(parts_, {}, [](const Part& part) { return first_seq(part.command); });
  }
  sent_id_ = parts_.size() == 1 ? parts_.front().command.generation_id : 0;
  // Of a single command only its generation is needed for the answer.
  return parts_.size() == 1 ? std::move(parts_.front().command) : merged();
}

/// One command of all parts. What pads the single batches is left out: there are more rows, which
/// have a padding of their own.
Command CommandQueue::merged() {
  Command command;
  if (role_ == ModelRole::kTarget) {
    VerifyCommand all;
    for (const Part& part : parts_) {
      const auto& one = std::get<VerifyCommand>(part.command.body);
      append(all.ops, one.ops);
      append(all.segments, one.segments);
    }
    n_pad_ = all.n_pad = padding_ ? padding_(all.n_tokens()) : 0;
    command.body = std::move(all);
  } else {
    DraftCommand all;
    for (const Part& part : parts_) {
      const auto& one = std::get<DraftCommand>(part.command.body);
      append(all.ops, one.ops);
      append(all.inputs, one.inputs);
      all.ranks.insert(all.ranks.end(), one.inputs.size(), one.rank);
    }
    command.body = std::move(all);
  }
  return command;
}

std::vector<Event> CommandQueue::answer(Event event) {
  std::vector<Event> events;
  if (!answered_by(event)) return events;
  if (parts_.size() == 1) {
    events.push_back(std::move(event));
  } else if (may_try_again(event)) {
    events = try_again(event);
  } else {
    events = divided(event);
  }
  parts_.clear();
  return events;
}

bool CommandQueue::may_try_again(const Event& event) const {
  const auto* fail = std::get_if<FailDone>(&event.body);
  return can_repeat_ && fail != nullptr && may_be_repeated(fail->error);
}

/// Returns the answers to the commands that nobody wants any more.
std::vector<Event> CommandQueue::try_again(const Event& event) {
  std::vector<Event> events;
  for (auto part = parts_.rbegin(); part != parts_.rend(); ++part) {
    if (!part->wanted) {
      events.push_back(own_event(part->command.generation_id, AbortDone{}));
      events.back().begin_us = events.back().end_us = event.end_us;
      continue;
    }
    part->group = kAlone;
    // The model has carried them out before the pass.
    if (auto* verify = std::get_if<VerifyCommand>(&part->command.body)) verify->ops.clear();
    if (auto* draft = std::get_if<DraftCommand>(&part->command.body)) draft->ops.clear();
    waiting_.push_front(std::move(*part));
  }
  return events;
}

int CommandQueue::n_batch_parts() const {
  if (!in_parts_) return 1;
  std::vector<SequenceRows> rows;
  for (const Part& part : parts_) append(rows, rows_of(part.command));
  return std::max(1, static_cast<int>(batch_parts(std::move(rows), splits_at_gaps_).size()));
}

std::vector<Event> CommandQueue::divided(const Event& event) const {
  int n_all = 0;
  for (const Part& part : parts_) n_all += n_tokens(part.command);
  const int n_parts = n_batch_parts();
  const auto* verified = std::get_if<VerifyDone>(&event.body);
  const auto* drafted = std::get_if<DraftDone>(&event.body);
  std::size_t first = 0;
  const auto slice = [&](const auto& all, std::size_t n) {
    if (first + n > all.size()) {
      throw PreconditionError("[CommandQueue::divided] " + std::to_string(all.size()) +
                              " answers are too few");
    }
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    first += n;
    return std::vector(begin, begin + static_cast<std::ptrdiff_t>(n));
  };
  std::vector<Event> events;
  for (const Part& part : parts_) {
    Event& own = events.emplace_back();
    own.role = event.role;
    own.generation_id = part.command.generation_id;
    own.begin_us = event.begin_us;
    own.end_us = event.end_us;
    own.ops_us = event.ops_us;
    own.waited_us = event.waited_us;
    own.n_batch_tokens = n_all;
    own.n_batch_pad = n_pad_;
    own.n_batch_texts = static_cast<int>(parts_.size());
    own.n_batch_parts = n_parts;
    own.overlap = event.overlap;
    if (verified != nullptr) {
      const auto& command = std::get<VerifyCommand>(part.command.body);
      own.body = VerifyDone{slice(verified->results, command.segments.size())};
    } else if (drafted != nullptr) {
      const auto& command = std::get<DraftCommand>(part.command.body);
      own.body = DraftDone{slice(drafted->candidates, command.inputs.size())};
    } else {
      own.body = event.body;
    }
  }
  return events;
}

}  // namespace specbranch
