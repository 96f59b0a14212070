/// One generation that is running: its decoder, and what its caller gets. Private to the core.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "specbranch/base/channel.h"
#include "specbranch/decoder/decoder.h"
#include "specbranch/engine/engine.h"
#include "specbranch/engine/running_text.h"
#include "specbranch/lookup/lookup_proposer.h"
#include "specbranch/model/stop_matcher.h"
#include "specbranch/report/profile.h"
#include "specbranch/report/trace.h"

namespace specbranch {

using OutputChannel = Channel<Output>;

struct SubmitMessage {
  GenerationId generation_id = 0;
  std::shared_ptr<const Request> request;
  std::shared_ptr<OutputChannel> output;
  LookupTexts texts = {};  ///< without its own text: nothing is drafted from texts.
};

/// Feeds the decoder, turns its tokens into chunks of text, and measures times. It sends nothing to
/// the models: the coordinator does, and tells it.
///
/// *Thread safety:* none; see Coordinator.
/// *Lifecycle:* `start`, then `sent` for every command that goes out and `on` for every event,
/// until `idle`; then `end`.
class RunningGeneration final : public RunningText {
 public:
  /// `pieces` (the bytes of each token) and `profile` outlive this.
  RunningGeneration(SubmitMessage submit, const ModelLimits& limits,
                    const std::vector<std::string>& pieces, PairProfile* profile, SeqId target_seq);

  GenerationId id() const override { return submit_.generation_id; }
  const SubmitMessage& submit() const { return submit_; }
  const Request& request() const override { return *submit_.request; }
  SeqId target_seq() const override { return target_seq_; }
  bool has_draft() const { return has_draft_; }
  bool idle() const { return decoder_.idle(); }
  bool finished() const override { return decoder_.finish() != Finish::kNone; }
  /// What the target's sequence holds about: the prompt and the generated tokens. No value: the
  /// target has not begun with the text.
  std::optional<std::vector<Token>> text_in_target() const {
    return target_open_ ? std::optional(decoder_.text()) : std::nullopt;
  }

  Commands start() { return decoder_.start(); }
  Commands cancel() { return decoder_.cancel(); }
  Commands on(const Event& event);

  const Offer* offer() const override { return decoder_.offer(); }
  Command take_offer(int n_drafted) override { return decoder_.take_offer(n_drafted); }
  void sent(ModelRole role, const Command& command) override;

  /// Asks the caller's policy. False: no reader waits.
  bool send_policy_request();

  /// Sends the chunks that are ready.
  void hand_out();

  /// The generated tokens; none if the request does not want them to be remembered.
  std::vector<Token> answer_to_remember() const;

  /// What the generation ends with. `end_us`: now.
  GenerationEnd end(std::int64_t end_us);

 private:
  bool deliver(const Committed& committed);
  void measure(const Event& event, bool before_text);
  Stats stats(std::int64_t end_us) const;

  SubmitMessage submit_;
  const std::vector<std::string>& pieces_;
  SeqId target_seq_;
  Decoder decoder_;
  StopMatcher matcher_;
  std::string stop_;  ///< the stop string that ended the text; empty: none did.
  BusyMeter meter_;
  std::int64_t begin_us_;
  std::int64_t decode_begin_us_ = 0;  ///< once the text has begun.
  std::int64_t waited_us_ = 0;        ///< for functions of the caller.
  bool has_draft_ = false;            ///< the draft was given the text.
  bool target_open_ = false;          ///< the target has begun with the text.
  std::optional<TraceRecorder> recorder_;
  std::vector<Chunk> held_;  ///< sent after the policy request, if the round has one.
};

/// The end of a generation that did nothing.
GenerationEnd ended(Finish finish, const Request& request, std::exception_ptr error);

}  // namespace specbranch
