// Figures of a run: computed from the record during the run, taken from the server at the end.

/**
 * @typedef {object} Figures
 * @property {number} nTokens
 * @property {number | null} decodeMs
 * @property {number | null} tokensPerSecond
 * @property {number | null} meanAccepted tokens of the text per step of the target
 * @property {number | null} acceptance share of the verified tokens that the target accepted
 * @property {number | null} rollback share of the drafted tokens that were rolled back
 * @property {number} hits
 * @property {number} misses
 * @property {number | null} targetBusy share of the decoding time; so are the next two
 * @property {number | null} draftBusy
 * @property {number | null} overlap share in which both models computed
 */

/** @param {number} part @param {number} whole */
const ratio = (part, whole) => (whole > 0 ? part / whole : null);

/**
 * @param {import("./run.js").Run} run
 * @returns {Figures}
 */
export function figures(run) {
  const sums = run.sums;
  const drafted = sums.accepted + sums.hits + sums.rolledBack;
  const common = {
    acceptance: ratio(sums.accepted, sums.submitted),
    hits: sums.hits,
    misses: sums.misses,
  };
  const stats = run.stats;
  if (!stats) {
    return { ...common, ...recorded(run), rollback: ratio(sums.rolledBack, drafted) };
  }
  return {
    ...common,
    nTokens: stats.n_generated,
    decodeMs: stats.decode_ms,
    tokensPerSecond: ratio(1000 * stats.n_generated, stats.decode_ms),
    meanAccepted: ratio(stats.n_generated, stats.n_target_steps),
    rollback: ratio(stats.n_rolled_back, stats.n_drafted),
    targetBusy: ratio(stats.target_busy_ms, stats.decode_ms),
    draftBusy: ratio(stats.draft_busy_ms, stats.decode_ms),
    overlap: ratio(stats.overlap_ms, stats.decode_ms),
  };
}

/** The figures computed from rounds and spans. @param {import("./run.js").Run} run */
function recorded(run) {
  const { target, draft } = run.spans;
  const begin = decodeBegin(run);
  const decodeMs = Math.max(0, run.endMs - begin);
  return {
    nTokens: run.tokens.length,
    decodeMs: decodeMs || null,
    tokensPerSecond: ratio(1000 * run.tokens.length, decodeMs),
    meanAccepted: ratio(run.roundOf.length, run.rounds.length),
    targetBusy: ratio(busy(target, begin), decodeMs),
    draftBusy: ratio(busy(draft, begin), decodeMs),
    overlap: ratio(both(target, draft, begin), decodeMs),
  };
}

/** The time at which the target began to decode the text. @param {import("./run.js").Run} run */
function decodeBegin(run) {
  return run.spans.target.find((span) => span.kind === "verify")?.begin_ms ?? run.endMs;
}

/**
 * Milliseconds in which a model computed after `begin`.
 * @param {import("./run.js").Span[]} spans
 * @param {number} begin
 */
export function busy(spans, begin) {
  return spans.reduce((sum, span) => sum + Math.max(0, span.end_ms - Math.max(begin, span.begin_ms)), 0);
}

/**
 * Milliseconds in which both models computed. Each list is in order of time.
 * @param {import("./run.js").Span[]} a
 * @param {import("./run.js").Span[]} b
 * @param {number} begin
 */
export function both(a, b, begin) {
  let [i, j, sum] = [0, 0, 0];
  while (i < a.length && j < b.length) {
    const from = Math.max(begin, a[i].begin_ms, b[j].begin_ms);
    sum += Math.max(0, Math.min(a[i].end_ms, b[j].end_ms) - from);
    if (a[i].end_ms < b[j].end_ms) i += 1;
    else j += 1;
  }
  return sum;
}

/**
 * The speed of the first run divided by that of the second; null until both have ended.
 * @param {import("./run.js").Run | undefined} on
 * @param {import("./run.js").Run | undefined} off
 */
export function speedUp(on, off) {
  if (on?.status !== "done" || off?.status !== "done") return null;
  const [fast, plain] = [figures(on).tokensPerSecond, figures(off).tokensPerSecond];
  return fast && plain ? fast / plain : null;
}

/**
 * Whether two runs of one prompt have the same text.
 * @param {import("./run.js").Run} on
 * @param {import("./run.js").Run} off
 * @returns {{equal: boolean, words: string}}
 */
export function compareTexts(on, off) {
  let at = 0;
  const shorter = Math.min(on.text.length, off.text.length);
  while (at < shorter && on.text[at] === off.text[at]) at += 1;
  const whole = on.status === "done" && off.status === "done";
  if (at < shorter || (whole && on.text.length !== off.text.length)) {
    return { equal: false, words: `The texts diverge at character ${at + 1}.` };
  }
  return {
    equal: true,
    words: whole ? "The texts are equal." : `The first ${at} characters are equal; one text ends there.`,
  };
}
