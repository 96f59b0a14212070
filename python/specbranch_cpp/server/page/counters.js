// The numbers beneath the text, on the runs that are shown.

import { element } from "./dom.js";
import { figures, speedUp } from "./figures.js";
import { fixed, percent } from "./words.js";

/**
 * Each: its name, what it means, and its value.
 * @type {[string, string, (figures: import("./figures.js").Figures) => string][]}
 */
const ROWS = [
  ["tokens/s", "tokens of the text per second, the prompt's time not counted", (f) => fixed(f.tokensPerSecond, 0)],
  ["tokens", "tokens of the text so far", (f) => String(f.nTokens)],
  ["tokens per step", "mean accepted length: tokens of the text per step of the target", (f) => fixed(f.meanAccepted, 2)],
  ["accepted", "share of the tokens sent for verification that the target chose too", (f) => percent(f.acceptance)],
  ["rolled back", "share of the drafted tokens that were dropped", (f) => percent(f.rollback)],
  ["branch hits/misses", "the target's own token was on a side branch, or was not", (f) => `${f.hits} / ${f.misses}`],
  ["target busy", "share of the decoding time", (f) => percent(f.targetBusy)],
  ["draft busy", "share of the decoding time", (f) => percent(f.draftBusy)],
  ["both busy", "share of the decoding time in which both computed", (f) => percent(f.overlap)],
];

/**
 * @param {HTMLElement} root
 * @returns {(runs: {on?: import("./run.js").Run, off?: import("./run.js").Run}) => void} shows them
 */
export function makeCounters(root) {
  const cells = ["speed-up", ...ROWS.map(([name]) => name)].map((name, i) => {
    const box = element("div", "counter", "");
    box.dataset.counter = name;
    box.title = i ? ROWS[i - 1][1] : "tokens per second with speculation over those without; both are needed";
    const value = element("span", "value", "-");
    box.append(element("span", "name", name), value, element("span", "second", ""));
    root.append(box);
    return box;
  });
  return (runs) => {
    const shown = [runs.on, runs.off].filter((run) => run !== undefined).map(figures);
    const ratio = speedUp(runs.on, runs.off);
    fill(cells[0], ratio === null ? "-" : `${ratio.toFixed(2)}×`, "");
    ROWS.forEach(([, , value], i) => {
      const [first, second] = shown.map(value);
      fill(cells[i + 1], first ?? "-", second === undefined ? "" : `off: ${second}`);
    });
  };
}

/** @param {HTMLElement} box @param {string} value @param {string} second */
function fill(box, value, second) {
  for (const [name, words] of [["value", value], ["second", second]]) {
    const cell = /** @type {HTMLElement} */ (box.querySelector(`.${name}`));
    if (cell.textContent !== words) cell.textContent = words;
  }
}
