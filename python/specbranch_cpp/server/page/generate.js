// Executes a run: sends the request and adds the chunks to the run.

import { getHealth, post } from "./api.js";
import { chunks } from "./stream.js";

const PATIENCE_MS = 700;

/**
 * Never throws. An error is stored in `run.error`, and the text so far stays in the run.
 * @param {import("./run.js").Run} run
 * @param {AbortSignal} signal stops the run
 * @param {() => void} onNews called after each change of the run
 * @param {(words: string) => void} onWait called with the state of the queue while no chunks come
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
  onWait(n > 1 ? `waiting: ${n} requests in the queue` : "waiting for the server");
}
