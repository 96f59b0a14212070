// The texts that run on the server, and their commands of the last seconds. No DOM.

/** Commands that ended longer ago are forgotten. */
export const KEPT_MS = 10000;

/**
 * @typedef {import("./run.js").Span} Span
 * @typedef {"waiting" | "prompt" | "running" | "ended"} TextState
 */

/** One text. The tracks of a timeline can show it as they show a run. */
export class ServerText {
  /** @param {number} id */
  constructor(id) {
    this.id = id;
    /** The slot in which it runs. @type {number | null} */
    this.slot = null;
    /** @type {TextState} */
    this.state = "waiting";
    /** Why it has ended. @type {string | null} */
    this.finishReason = null;
    this.mode = "";
    this.nPrompt = 0;
    this.nPromptRead = 0;
    this.nDecoded = 0;
    /** Whether its commands are recorded. */
    this.isRecorded = false;
    /** Number of its commands, also of those that are forgotten. */
    this.nSpans = 0;
    /** The commands of each model, in order of time. @type {{target: Span[], draft: Span[]}} */
    this.spans = { target: [], draft: [] };
    /** The last moment of the record. */
    this.endMs = 0;
  }

  /** @param {any} entry the text as the server tells it @param {number} nowMs */
  update(entry, nowMs) {
    this.slot = entry.slot ?? this.slot;
    this.state = entry.state;
    this.finishReason = entry.finish_reason;
    this.mode = entry.mode;
    this.nPrompt = entry.n_prompt_tokens;
    this.nPromptRead = entry.n_prompt_tokens_processed;
    this.nDecoded = entry.n_decoded;
    this.isRecorded = entry.is_recorded;
    this.nSpans = entry.n_spans;
    for (const span of /** @type {Span[]} */ (entry.spans)) this.spans[span.side].push(span);
    for (const side of /** @type {const} */ (["target", "draft"])) {
      const spans = this.spans[side];
      const first = spans.findIndex((span) => span.end_ms >= nowMs - KEPT_MS);
      spans.splice(0, first < 0 ? spans.length : first);
    }
    // The models have no work for a text that has ended; before, the time until now is a bubble.
    const last = Math.max(0, ...[this.spans.target, this.spans.draft].map((all) => all.at(-1)?.end_ms ?? 0));
    this.endMs = this.state === "ended" ? last : nowMs;
  }
}

export class ServerTexts {
  /** In the order in which they were asked for. @type {ServerText[]} */
  list = [];
  /** Texts that are not in the list, because there are too many. */
  nMore = 0;
  /** Requests that wait, and have no text yet. */
  nWaiting = 0;
  /** The clock of the server. */
  nowMs = 0;

  /** What the server need not tell again. */
  get seen() {
    return this.list.map((text) => `${text.id}:${text.nSpans}`).join(",");
  }

  /** @param {any} reply the answer of the server */
  update(reply) {
    const isAnother = reply.now_ms < this.nowMs;
    this.nowMs = reply.now_ms;
    if (isAnother) {
      // A server that began anew: its texts have other numbers, so what the last one has told says
      // nothing of them. The next look asks for all.
      this.list = [];
      this.nMore = 0;
      this.nWaiting = 0;
      return;
    }
    this.nMore = reply.n_more;
    this.nWaiting = reply.requests_waiting;
    const known = new Map(this.list.map((text) => [text.id, text]));
    this.list = reply.texts.map((/** @type {any} */ entry) => {
      const text = known.get(entry.id) ?? new ServerText(entry.id);
      text.update(entry, this.nowMs);
      return text;
    });
  }
}
