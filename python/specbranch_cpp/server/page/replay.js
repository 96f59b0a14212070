// A recorded run once more, slowly: what took milliseconds is made visible.

import { Run } from "./run.js";

/** What a round of the target takes on the screen. */
const ROUND_MS = 350;

/** @param {Run[]} runs @returns {number} by how much all of them are slowed down together */
export function slowdown(runs) {
  const rounds = runs.map((run) => run.endMs / Math.max(1, run.rounds.length));
  return Math.max(1, ROUND_MS / Math.max(0.01, Math.min(...rounds)));
}

/**
 * Plays runs side by side on one clock; resolves when all are over or the signal stops them.
 * @param {[Run, Run][]} pairs each: a recorded run, and an empty one that becomes it
 * @param {number} factor milliseconds on the screen for each that was recorded
 * @param {AbortSignal} signal the rest is then shown at once
 * @param {() => void} onNews called whenever a run has changed
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
 * Gives a run what had been recorded by a moment.
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
  const { stats, timings, finishReason, error, status } = recorded;
  Object.assign(run, { stats, timings, finishReason, error, status });
}
