// The counters below the text, for the shown runs.

import { element } from "./dom.js";
import { figures, speedUp } from "./figures.js";
import { fixed, percent } from "./words.js";

/**
 * The name, the meaning and the value of each counter.
 * @type {[string, string, (figures: import("./figures.js").Figures) => string][]}
 */
const ROWS = [
  ["tokens/s", "tokens of the text per second, without the time for the prompt", (f) => fixed(f.tokensPerSecond, 0)],
  ["tokens", "tokens of the text so far", (f) => String(f.nTokens)],
  ["tokens per step", "mean accepted length: tokens of the text per target step", (f) => fixed(f.meanAccepted, 2)],
  ["accepted", "share of the verified tokens that the target accepted", (f) => percent(f.acceptance)],
  ["rolled back", "share of the drafted tokens that were dropped", (f) => percent(f.rollback)],
  ["branch hits/misses", "verifications whose last token was on a branch / that rejected drafts and met no branch", (f) => `${f.hits} / ${f.misses}`],
  ["target busy", "share of the decoding time", (f) => percent(f.targetBusy)],
  ["draft busy", "share of the decoding time", (f) => percent(f.draftBusy)],
  ["both busy", "share of the decoding time in which both computed", (f) => percent(f.overlap)],
];

const SPEED_UP = "tokens per second with speculation divided by those without; shown after both runs";

/**
 * @param {HTMLElement} root
 * @returns {(runs: {on?: import("./run.js").Run, off?: import("./run.js").Run}) => void} shows the runs
 */
export function makeCounters(root) {
  const cells = ["speed-up", ...ROWS.map(([name]) => name)].map((name, i) => {
    const box = element("div", "counter", "");
    box.dataset.counter = name;
    box.title = i ? ROWS[i - 1][1] : SPEED_UP;
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
