// Shows a text as tokens, marked by origin. Rolled back tokens are struck through and fade.

import { describeToken } from "./words.js";

/** Largest number of fading tokens. If there are more, the oldest disappear. */
const MOST_FADING = 40;
/** The same time as in the style sheet. A timer is used, because animations do not run in hidden tabs. */
const FADE_MS = 2600;
/** Number of tokens after which the next line begins a new block. Browsers skip invisible blocks. */
const BLOCK = 150;
const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10 };

export class TextView {
  /** Number of shown tokens. */
  #shown = 0;
  /** Number of rounds whose rolled back tokens are shown. */
  #rounds = 0;
  /** @type {HTMLElement[]} */
  #elements = [];
  /** @type {HTMLElement[]} */
  #fading = [];
  /** The last element with a timer. @type {HTMLElement | undefined} */
  #timed;
  #current = -1;
  /** @type {HTMLElement} */
  #block;
  /** Number of tokens in the block. */
  #inBlock = 0;

  /**
   * @param {import("./run.js").Run} run
   * @param {(words: string, atMs: number | null) => void} onPoint gets the description of the token
   *   under the pointer, and the time of its round
   */
  constructor(run, onPoint) {
    this.run = run;
    this.onPoint = onPoint;
    this.element = document.createElement("div");
    this.element.className = "text";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "Text of the model; use the arrow keys to go through its tokens");
    this.#block = this.#addBlock();
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.element.addEventListener("mouseover", (event) => this.#onHover(event));
  }

  /** Appends the new tokens of the run. */
  update() {
    const { run } = this;
    for (; this.#shown < run.tokens.length; this.#shown += 1) {
      this.#addDropped(this.#shown);
      this.#addToken(run.tokens[this.#shown], this.#shown);
    }
    this.#addDropped(run.over ? Infinity : this.#shown);
    const newest = this.#fading.at(-1);
    if (newest && newest !== this.#timed) {
      this.#timed = newest;
      setTimeout(() => this.#hide(this.#fading.indexOf(newest) + 1), FADE_MS);
    }
    this.#hide(this.#fading.length - MOST_FADING);
  }

  #addBlock() {
    const block = document.createElement("div");
    block.className = "block";
    this.element.append(block);
    this.#inBlock = 0;
    return block;
  }

  /**
   * @param {import("./run.js").Token} token
   * @param {number} index
   */
  #addToken(token, index) {
    const element = document.createElement("span");
    element.className = `token ${token.origin}`;
    element.textContent = token.text;
    element.dataset.index = String(index);
    this.#elements.push(element);
    this.#block.append(element);
    this.#inBlock += 1;
    if (this.#inBlock >= BLOCK && token.text.endsWith("\n")) this.#block = this.#addBlock();
  }

  /**
   * Shows the tokens that were rolled back before the token at `index`, at their place in the text.
   * @param {number} index
   */
  #addDropped(index) {
    const { rounds } = this.run;
    for (; this.#rounds < rounds.length && rounds[this.#rounds].end <= index; this.#rounds += 1) {
      const dropped = rounds[this.#rounds].rolled_back;
      if (!dropped.length) continue;
      const element = document.createElement("del");
      element.className = "rolled";
      const text = dropped.map((piece) => piece.text).join("");
      element.textContent = text.replace(/\s*\n\s*/g, "↵"); // the lines of the text itself must not change
      element.dataset.round = String(this.#rounds);
      this.#block.append(element);
      this.#fading.push(element);
    }
  }

  /** Hides the oldest fading tokens. @param {number} n */
  #hide(n) {
    for (const element of this.#fading.splice(0, Math.max(0, n))) element.classList.add("gone");
  }

  /** @param {MouseEvent} event */
  #onHover(event) {
    const { index, round } = /** @type {HTMLElement} */ (event.target).dataset;
    if (index !== undefined) this.#point(Number(index));
    else if (round !== undefined) this.#tellRound(Number(round));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.#shown) return;
    const last = this.#shown - 1;
    const step = STEPS[/** @type {keyof typeof STEPS} */ (event.key)];
    let next;
    if (step !== undefined) next = this.#current + step;
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = last;
    else return;
    event.preventDefault();
    this.#point(Math.min(last, Math.max(0, next)));
    this.#elements[this.#current].scrollIntoView({ block: "nearest" });
  }

  /** @param {number} index of a token */
  #point(index) {
    this.#elements[this.#current]?.classList.remove("current");
    this.#current = index;
    this.#elements[index].classList.add("current");
    const round = this.run.rounds[this.run.roundOf[index]];
    this.onPoint(describeToken(this.run, index), round?.at_ms ?? null);
  }

  /** @param {number} index of a round that rolled tokens back */
  #tellRound(index) {
    const round = this.run.rounds[index];
    this.onPoint(`round ${index + 1}: ${round.rolled_back.length} tokens rolled back`, round.at_ms);
  }
}
