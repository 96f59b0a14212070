// Words for tokens, commands and numbers.

const ORIGINS = {
  target: "chosen by the target, not drafted",
  draft: "drafted, accepted by the target",
  branch: "chosen by the target, drafted on a side branch",
};

/** @param {number | null | undefined} ms */
export function milliseconds(ms) {
  if (ms == null) return "-";
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 2 : 1)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** @param {number | null} share */
export const percent = (share) => (share === null ? "-" : `${Math.round(100 * share)} %`);

/** @param {number | null} value @param {number} digits */
export const fixed = (value, digits) => (value === null ? "-" : value.toFixed(digits));

/** @param {number} n */
const branches = (n) => (n === 1 ? "1 branch" : `${n} branches`);

/**
 * @param {import("./run.js").Run} run
 * @param {number} index of a token
 */
export function describeToken(run, index) {
  const token = run.tokens[index];
  const words = [`token ${index + 1} ${JSON.stringify(token.text)}`, ORIGINS[token.origin]];
  const at = run.roundOf[index];
  if (at !== undefined) words.push(describeRound(run.rounds[at], at));
  return words.join(" · ");
}

/** @param {import("./run.js").Round} round @param {number} index */
function describeRound(round, index) {
  const words = [`round ${index + 1} at ${milliseconds(round.at_ms)}`];
  if (round.n_submitted) words.push(`${round.n_accepted} of ${round.n_submitted} accepted`);
  if (round.branch_hit) words.push("branch hit");
  if (round.branch_miss) words.push("branch miss");
  if (round.rolled_back.length) words.push(`${round.rolled_back.length} rolled back`);
  return words.join(", ");
}

/**
 * A short description of a command. `verify 3/4`: the target accepted 3 of 4 drafted tokens.
 * @param {import("./run.js").Span} span
 */
export function describeSpan(span) {
  let words = span.kind === "prefill" ? `prefill ${span.n_tokens}` : /** @type {string} */ (span.kind);
  if (span.kind === "draft") words += ` ${branches(span.n_branches)}`;
  if (span.kind === "verify") {
    const drafted = span.n_tokens - 1;
    if (!drafted) words = "decode 1 token";
    else words += span.n_accepted === null ? ` ${drafted}` : ` ${span.n_accepted}/${drafted}`;
  }
  if (span.branch_hit) words += ", branch hit";
  if (span.branch_miss) words += ", branch miss";
  return span.end === "done" ? words : `${words} (${span.end})`;
}

/** A label that fits into a bar. @param {import("./run.js").Span} span */
export function shortSpan(span) {
  if (span.kind === "verify" && span.n_accepted !== null && span.n_tokens > 1) {
    return `${span.n_accepted}/${span.n_tokens - 1}`;
  }
  return String(span.kind === "draft" ? span.n_branches : span.n_tokens);
}
