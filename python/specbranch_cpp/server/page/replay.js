// Replays a recorded run slowly, so that milliseconds become visible.

import { Run } from "./run.js";

/** Milliseconds of a round of the target on the screen. */
const ROUND_MS = 350;

/** @param {Run[]} runs @returns {number} the slow-down, the same for all runs */
export function slowdown(runs) {
  const rounds = runs.map((run) => run.endMs / Math.max(1, run.rounds.length));
  return Math.max(1, ROUND_MS / Math.max(0.01, Math.min(...rounds)));
}

/**
 * Plays runs side by side on one clock. Resolves when all runs have ended or the signal stops them.
 * @param {[Run, Run][]} pairs recorded runs, each with an empty run to fill
 * @param {number} factor milliseconds on the screen for each recorded millisecond
 * @param {AbortSignal} signal shows the rest at once
 * @param {() => void} onNews called after each change of a run
 */
export async function replay(pairs, factor, signal, onNews) {
  const begin = performance.now();
  let rest = pairs;
  while (rest.length) {
    const now = signal.aborted ? Infinity : (performance.now() - begin) / factor;
    for (const [recorded, run] of rest) advance(recorded, run, now);
    rest = rest.filter(([, run]) => !run.over);
    onNews();
    await new Promise((resolve) => setTimeout(resolve, 16));
  }
}

/**
 * Adds to a run everything that was recorded until a moment.
 * @param {Run} recorded
 * @param {Run} run
 * @param {number} ms
 */
function advance(recorded, run, ms) {
  const ends = ms >= recorded.endMs;
  const rounds = recorded.rounds.slice(run.rounds.length).filter((round) => round.at_ms <= ms);
  const end = ends ? recorded.tokens.length : (rounds.at(-1)?.end ?? run.tokens.length);
  const tokens = recorded.tokens.slice(run.tokens.length, end);
  const spans = /** @type {const} */ (["target", "draft"]).flatMap((side) =>
    recorded.spans[side].slice(run.spans[side].length).filter((span) => ends || span.end_ms <= ms));
  const text = tokens.map((token) => token.text).join("");
  run.accept({ choices: [{ text }], speculation: { tokens, rounds, spans } });
  if (!ends) return;
  // The tokens do not tell thoughts from the answer, which later turns of a chat repeat.
  const { answer, hasThought, stats, timings, finishReason, error, status } = recorded;
  Object.assign(run, { answer, hasThought, stats, timings, finishReason, error, status });
}
