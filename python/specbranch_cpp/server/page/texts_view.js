// A row for each text of the server: its name, its state, and a small timeline of both models.

import { ApiError, getTimelines } from "./api.js";
import { element } from "./dom.js";
import { clear, drawAxis, drawLane, paletteOf } from "./lanes.js";
import { KEPT_MS, ServerTexts } from "./server_texts.js";

const LOOK_EVERY_MS = 500;
/** After a failure, the server is asked less often. */
const RETRY_MS = 3000;
const LANE = 10;
const LANES = /** @type {const} */ ([["target", 2], ["draft", 2 + LANE + 1]]);
/** Room at the right for the last label of the axis. */
const RIGHT = 4;
const WIDTHS_MS = [1000, 2000, 5000, KEPT_MS];

/** @typedef {import("./server_texts.js").ServerText} ServerText */

export class TextsView {
  #texts = new ServerTexts();
  /** The elements of each text, by its id. @type {Map<number, Row>} */
  #rows = new Map();
  #width = 2; // index of the shown time
  #started = false;

  /** @param {HTMLDetailsElement} root */
  constructor(root) {
    this.root = root;
    this.list = element("ul", "text-rows", "");
    this.axis = document.createElement("canvas");
    this.axis.className = "text-axis";
    this.axis.setAttribute("aria-hidden", "true");
    this.note = element("p", "hint", "");
    const buttons = element("div", "actions timeline-actions", "");
    for (const [label, by] of /** @type {[string, number][]} */ ([["Shorter", -1], ["Longer", 1]])) {
      const button = element("button", "quiet", label);
      button.setAttribute("type", "button");
      button.addEventListener("click", () => this.#choose(this.#width + by));
      buttons.append(button);
    }
    buttons.append(this.note);
    root.append(this.list, this.axis, buttons);
    root.addEventListener("toggle", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** Looks from now on, as long as somebody can see it. */
  start() {
    if (!this.#started) this.#look();
    this.#started = true;
  }

  async #look() {
    let pause = LOOK_EVERY_MS;
    if (this.root.open && document.visibilityState === "visible") {
      try {
        this.#texts.update(await getTimelines(this.#texts.seen));
        this.root.hidden = false;
        this.draw();
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return; // the server shows no slots
        if (!(error instanceof Error)) throw error;
        this.note.textContent = "not connected";
        pause = RETRY_MS;
      }
    }
    setTimeout(() => this.#look(), pause);
  }

  /** @param {number} width */
  #choose(width) {
    this.#width = Math.max(0, Math.min(WIDTHS_MS.length - 1, width));
    this.draw();
  }

  draw() {
    if (!this.root.open || this.root.hidden) return;
    const { list, nMore, nWaiting, nowMs } = this.#texts;
    const widthMs = WIDTHS_MS[this.#width];
    const rows = list.map((text) => {
      const row = this.#rows.get(text.id);
      return row?.text === text ? row : new Row(text); // another server has other texts
    });
    this.#rows = new Map(rows.map((row) => [row.text.id, row]));
    const shown = rows.map((row) => row.element);
    const same = shown.length === this.list.children.length && shown.every((one, i) => one === this.list.children[i]);
    if (!same) this.list.replaceChildren(...shown);
    for (const row of rows) row.draw(nowMs, widthMs);
    this.#drawAxis(widthMs);
    const words = [list.length ? `the last ${widthMs / 1000} s` : "no text runs"];
    if (nMore) words.push(`${nMore} more without a row`);
    if (nWaiting) words.push(nWaiting === 1 ? "1 request waits" : `${nWaiting} requests wait`);
    this.note.textContent = words.join(" · ");
  }

  /** @param {number} widthMs */
  #drawAxis(widthMs) {
    const context = clear(this.axis);
    const frame = { left: 0, width: this.axis.clientWidth - RIGHT, begin: -widthMs, end: 0 };
    if (frame.width > 0 && this.#rows.size) drawAxis(context, frame, 0, paletteOf(this.axis));
  }
}

class Row {
  /** @param {ServerText} text */
  constructor(text) {
    this.text = text;
    this.element = element("li", "text-row", "");
    this.element.dataset.id = String(text.id);
    this.name = element("span", "text-name", "");
    this.state = element("span", "text-state", "");
    this.canvas = document.createElement("canvas");
    this.canvas.className = "text-lanes";
    this.canvas.setAttribute("role", "img");
    this.element.append(this.name, this.state, this.canvas);
  }

  /** @param {number} nowMs @param {number} widthMs */
  draw(nowMs, widthMs) {
    const { text } = this;
    this.name.textContent = [`text ${text.id}`, text.slot === null ? "" : `slot ${text.slot}`, text.mode]
      .filter(Boolean)
      .join(" · ");
    this.state.textContent = describe(text);
    const [target, draft] = LANES.map(([side]) => text.spans[side].length);
    Object.assign(this.element.dataset, { state: text.state, targetSpans: target, draftSpans: draft });
    this.canvas.setAttribute(
      "aria-label",
      `Timeline of text ${text.id}: in the last seconds ${target} commands of the target and ${draft} of the draft.`,
    );
    const context = clear(this.canvas);
    const frame = { left: 0, width: this.canvas.clientWidth - RIGHT, begin: nowMs - widthMs, end: nowMs };
    if (frame.width <= 0) return; // a narrow window has no room
    const palette = paletteOf(this.canvas);
    for (const [side, y] of LANES) {
      drawLane(context, { run: text, side, label: side, y, height: LANE }, frame, palette, null);
    }
  }
}

/** @param {ServerText} text */
function describe(text) {
  const tokens = text.nDecoded === 1 ? "1 token" : `${text.nDecoded} tokens`;
  const words = {
    waiting: "waits for a slot",
    prompt: `reads the prompt, ${text.nPromptRead} of ${text.nPrompt} tokens`,
    running: tokens,
    ended: `ended (${text.finishReason}), ${tokens}`,
  }[text.state];
  return text.isRecorded ? words : `${words}, not recorded: it began before this page`;
}
