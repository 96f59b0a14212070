// The conversation: its turns and the current run.

import { Announcer } from "./announce.js";
import { Turn } from "./conversation.js";
import { generate } from "./generate.js";
import { makeRequest, PLAIN } from "./requests.js";
import { replay, slowdown } from "./replay.js";
import { Run } from "./run.js";

/** @typedef {import("./requests.js").Settings} Settings */

/**
 * @typedef {object} Listeners
 * @property {(turn: Turn) => void} onTurn called to show the runs of a turn
 * @property {() => void} onNews called after a change of the shown runs
 * @property {(words: string) => void} onWait
 * @property {(error: Error, retry: () => void) => void} onProblem
 * @property {(words: string, run: Run, atMs: number | null) => void} onPoint
 * @property {(busy: boolean) => void} onBusy
 */

export class Session {
  /** @type {Turn[]} */
  turns = [];
  model = "";
  /** @type {AbortController | null} */
  #stopper = null;
  /** @type {Announcer | null} */
  #announcer = null;

  /** @param {Listeners} listeners */
  constructor(listeners) {
    this.listeners = listeners;
  }

  get busy() {
    return this.#stopper !== null;
  }

  /** The newest turn. */
  get last() {
    return this.turns.at(-1);
  }

  /** Stops the current run. The text so far stays. */
  stop() {
    this.#stopper?.abort();
  }

  /** Removes all turns. */
  clear() {
    this.stop();
    this.turns = [];
  }

  /**
   * The turn for a prompt: a new turn, or the last turn if its request is the same.
   * @param {string} prompt
   * @param {Settings} settings
   */
  turnFor(prompt, settings) {
    const input = settings.kind === "chat" ? this.#messages(prompt) : prompt;
    const { key } = makeRequest(this.model, input, settings);
    if (this.last?.key === key) return this.last;
    const turn = new Turn(prompt, input, key);
    this.turns.push(turn);
    return turn;
  }

  /** @param {string} prompt @returns {import("./requests.js").Message[]} */
  #messages(prompt) {
    /** @type {import("./requests.js").Message[]} */
    const messages = [];
    for (const turn of this.turns.filter((one) => Array.isArray(one.input))) {
      const answer = turn.list.find((run) => run.text !== "");
      if (!answer) continue;
      messages.push({ role: "user", content: turn.prompt });
      messages.push({ role: "assistant", content: answer.answer });
    }
    return [...messages, { role: "user", content: prompt }];
  }

  /**
   * Runs a turn in one mode after another, until a run fails or is stopped.
   * @param {Turn} turn
   * @param {Settings} settings
   * @param {string[]} modes
   */
  async run(turn, settings, modes) {
    if (this.busy) return;
    const stopper = new AbortController();
    this.#stopper = stopper;
    this.listeners.onBusy(true);
    /** @type {Run | null} */
    let failed = null;
    for (const [i, mode] of modes.entries()) {
      const run = await this.#runOnce(turn, { ...settings, mode }, stopper.signal);
      if (run.status === "done") continue;
      if (run.error) failed = run;
      modes = modes.slice(i);
      break;
    }
    this.#stopper = null;
    this.listeners.onBusy(false);
    if (failed?.error) this.listeners.onProblem(failed.error, () => this.run(turn, settings, modes));
  }

  /**
   * Replays the runs of the last turn slowly, side by side on one clock.
   * @param {(words: string) => void} onSpeed
   */
  async replay(onSpeed) {
    const turn = this.last;
    if (this.busy || !turn?.list.length) return;
    const stopper = new AbortController();
    this.#stopper = stopper;
    this.#announcer = null;
    this.listeners.onBusy(true);
    const recorded = turn.list;
    const pairs = recorded.map((run) => /** @type {[Run, Run]} */ ([run, new Run(run.request)]));
    for (const [, run] of pairs) this.#add(turn, run);
    this.listeners.onTurn(turn);
    const factor = slowdown(recorded);
    onSpeed(`replay, ${factor.toFixed(0)} times slower`);
    await replay(pairs, factor, stopper.signal, this.listeners.onNews);
    this.#stopper = null;
    this.listeners.onBusy(false);
  }

  /** @param {Turn} turn @param {Run} run */
  #add(turn, run) {
    turn.add(run, (words, atMs) => this.listeners.onPoint(words, run, atMs));
  }

  /** @param {Turn} turn @param {Settings} settings @param {AbortSignal} signal */
  async #runOnce(turn, settings, signal) {
    const run = new Run(makeRequest(this.model, turn.input, settings));
    this.#add(turn, run);
    this.#announcer = new Announcer(run);
    this.listeners.onTurn(turn);
    await generate(run, signal, this.listeners.onNews, this.listeners.onWait);
    return run;
  }

  /** Shows new tokens. One call per frame is enough. */
  update() {
    this.last?.update();
    this.#announcer?.update();
  }
}

/**
 * The modes that a comparison still needs. Completed runs of the turn are kept.
 * @param {Turn} turn
 * @param {string} speculative
 * @returns {string[]}
 */
export function missingModes(turn, speculative) {
  const { on, off } = turn.runs;
  const has = {
    on: on?.status === "done" && on.request.body.mode === speculative,
    off: off?.status === "done",
  };
  if (has.on === has.off) return [speculative, PLAIN];
  return has.on ? [PLAIN] : [speculative];
}
