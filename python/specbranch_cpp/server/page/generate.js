// Carries out a run: asks the server and feeds the run with what comes.

import { getHealth, post } from "./api.js";
import { chunks } from "./stream.js";

const PATIENCE_MS = 700;

/**
 * Never throws: what goes wrong is in `run.error`, and what had come stays in the run.
 * @param {import("./run.js").Run} run
 * @param {AbortSignal} signal stops it
 * @param {() => void} onNews called whenever the run has changed
 * @param {(words: string) => void} onWait told about the queue while nothing comes
 */
export async function generate(run, signal, onNews, onWait) {
  const timer = setTimeout(() => tellQueue(run, onWait), PATIENCE_MS);
  try {
    const response = await post(run.request, signal);
    for await (const chunk of chunks(response, signal)) {
      run.accept(chunk);
      onNews();
    }
    run.status = "done";
  } catch (error) {
    run.status = signal.aborted ? "stopped" : "failed";
    if (!signal.aborted) run.error = /** @type {Error} */ (error);
  } finally {
    clearTimeout(timer);
    onNews();
  }
}

/** @param {import("./run.js").Run} run @param {(words: string) => void} onWait */
async function tellQueue(run, onWait) {
  const health = await getHealth().catch(() => null);
  if (run.status !== "waiting") return;
  const n = health?.requests_waiting ?? 0;
  onWait(n > 1 ? `waiting, ${n} requests in the queue` : "waiting for the server");
}
