// The state of one generation. No DOM.

/**
 * @typedef {"target" | "draft" | "branch"} Origin
 * @typedef {{text: string, origin: Origin}} Token
 * @typedef {{id: number, text: string}} Piece
 * @typedef {object} Round a verification of the target
 * @property {number} at_ms milliseconds since the generation began
 * @property {number} n_accepted
 * @property {number} n_submitted
 * @property {boolean} branch_hit
 * @property {boolean} branch_miss
 * @property {Piece[]} committed
 * @property {Piece[]} rolled_back
 * @property {number} end index of the first token after the committed tokens
 * @typedef {object} Span one command of a model
 * @property {"target" | "draft"} side
 * @property {"prefill" | "verify" | "draft"} kind
 * @property {number} begin_ms
 * @property {number} end_ms
 * @property {number} n_tokens
 * @property {number} n_branches
 * @property {number | null} n_accepted null unless the verification was applied; so are the next two
 * @property {boolean} [branch_hit]
 * @property {boolean} [branch_miss]
 * @property {"done" | "aborted" | "failed"} end
 * @typedef {"waiting" | "running" | "done" | "stopped" | "failed"} Status
 */

export class Run {
  /** Number of rounds that are assigned to their spans. */
  #judged = 0;
  /** Index of the target's next span to examine. */
  #nextSpan = 0;

  /** @param {import("./requests.js").Request} request */
  constructor(request) {
    this.request = request;
    /** @type {Status} */
    this.status = "waiting";
    this.text = "";
    /** The text without thoughts. */
    this.answer = "";
    this.hasThought = false;
    /** @type {Token[]} */
    this.tokens = [];
    /** @type {Round[]} */
    this.rounds = [];
    /** Index of the round that committed a token. @type {number[]} */
    this.roundOf = [];
    /** The spans of each model, in order of time. @type {{target: Span[], draft: Span[]}} */
    this.spans = { target: [], draft: [] };
    this.sums = { accepted: 0, submitted: 0, rolledBack: 0, hits: 0, misses: 0 };
    /** @type {Record<string, any> | null} */
    this.stats = null;
    /** @type {Record<string, any> | null} */
    this.timings = null;
    /** @type {string | null} */
    this.finishReason = null;
    /** @type {Error | null} */
    this.error = null;
  }

  /** Whether the run has ended. */
  get over() {
    return this.status !== "waiting" && this.status !== "running";
  }

  /** Milliseconds that the record covers. */
  get endMs() {
    return Math.max(this.spans.target.at(-1)?.end_ms ?? 0, this.spans.draft.at(-1)?.end_ms ?? 0);
  }

  /** Adds a chunk of a completion or of a chat. @param {any} chunk */
  accept(chunk) {
    this.status = "running";
    const choice = chunk.choices?.[0];
    const text = this.#textOf(choice);
    this.finishReason = choice?.finish_reason ?? this.finishReason;
    this.timings = chunk.timings ?? this.timings;
    const speculation = chunk.speculation ?? {};
    this.stats = speculation.stats ?? this.stats;
    this.#addText(text, speculation.tokens ?? []);
    for (const span of /** @type {Span[]} */ (speculation.spans ?? [])) this.spans[span.side].push(span);
    for (const round of speculation.rounds ?? []) this.#addRound(round);
    this.#judge();
  }

  /** The text of a chunk: thoughts, an empty line, the answer. @param {any} choice */
  #textOf(choice) {
    const thought = choice?.delta?.reasoning_content ?? "";
    const answer = choice?.delta?.content ?? choice?.text ?? "";
    this.hasThought ||= thought !== "";
    const gap = this.hasThought && answer && !this.answer ? "\n\n" : "";
    this.answer += answer;
    return thought + gap + answer;
  }

  /**
   * Assigns rounds to their verification spans. Rounds can come later than spans: the n-th completed
   * verification belongs to the n-th round.
   */
  #judge() {
    const spans = this.spans.target;
    for (; this.#judged < this.rounds.length && this.#nextSpan < spans.length; this.#nextSpan += 1) {
      const span = spans[this.#nextSpan];
      if (span.kind !== "verify" || span.end !== "done") continue;
      const { n_accepted, branch_hit, branch_miss } = this.rounds[this.#judged];
      Object.assign(span, { n_accepted, branch_hit, branch_miss });
      this.#judged += 1;
    }
  }

  /**
   * Adds tokens. Their texts together are always exactly the text: if a character has several tokens,
   * or a stop string was held back, the token that completes it has the whole text.
   * @param {string} text
   * @param {(Piece & {origin: Origin})[]} pieces
   */
  #addText(text, pieces) {
    this.text += text;
    const exact = pieces.map((piece) => piece.text).join("") === text;
    pieces.forEach((piece, i) => {
      const own = i === pieces.length - 1 ? text : "";
      this.tokens.push({ text: exact ? piece.text : own, origin: piece.origin });
    });
    if (!pieces.length && text) this.tokens.push({ text, origin: "target" });
  }

  /** @param {Round} round */
  #addRound(round) {
    for (const _ of round.committed) this.roundOf.push(this.rounds.length);
    this.rounds.push({ ...round, end: this.roundOf.length });
    this.sums.accepted += round.n_accepted;
    this.sums.submitted += round.n_submitted;
    this.sums.rolledBack += round.rolled_back.length;
    this.sums.hits += round.branch_hit ? 1 : 0;
    this.sums.misses += round.branch_miss ? 1 : 0;
  }
}
