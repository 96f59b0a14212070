// A text as tokens: marked by where they came from, rolled-back ones struck and fading.

import { describeToken } from "./words.js";

/** So many fade at once; of more, the oldest vanish. */
const MOST_FADING = 120;
const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10 };

export class TextView {
  /** Tokens shown. */
  #shown = 0;
  /** Rounds whose rolled-back tokens are shown. */
  #rounds = 0;
  /** @type {HTMLElement[]} */
  #elements = [];
  /** @type {HTMLElement[]} */
  #fading = [];
  #current = -1;

  /**
   * @param {import("./run.js").Run} run
   * @param {(words: string, atMs: number | null) => void} onPoint told about the token that is
   *   pointed at, and when it was committed
   */
  constructor(run, onPoint) {
    this.run = run;
    this.onPoint = onPoint;
    this.element = document.createElement("div");
    this.element.className = "text";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "Text of the model, arrow keys go through its tokens");
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.element.addEventListener("mouseover", (event) => this.#onHover(event));
    this.element.addEventListener("animationend", (event) => {
      /** @type {HTMLElement} */ (event.target).classList.add("gone");
    });
  }

  /** Appends what is new in the run. */
  update() {
    const { run } = this;
    const fresh = document.createDocumentFragment();
    for (; this.#shown < run.tokens.length; this.#shown += 1) {
      this.#addDropped(fresh, this.#shown);
      fresh.append(this.#makeToken(run.tokens[this.#shown], this.#shown));
    }
    this.#addDropped(fresh, run.over ? Infinity : this.#shown);
    if (fresh.hasChildNodes()) this.element.append(fresh);
    while (this.#fading.length > MOST_FADING) this.#fading.shift()?.classList.add("gone");
  }

  /**
   * @param {import("./run.js").Token} token
   * @param {number} index
   */
  #makeToken(token, index) {
    const element = document.createElement("span");
    element.className = `token ${token.origin}`;
    element.textContent = token.text;
    element.dataset.index = String(index);
    this.#elements.push(element);
    return element;
  }

  /**
   * Shows what was rolled back before the token at `index`, where it would have stood.
   * @param {DocumentFragment} fresh
   * @param {number} index
   */
  #addDropped(fresh, index) {
    const { rounds } = this.run;
    for (; this.#rounds < rounds.length && rounds[this.#rounds].end <= index; this.#rounds += 1) {
      const dropped = rounds[this.#rounds].rolled_back;
      if (!dropped.length) continue;
      const element = document.createElement("del");
      element.className = "rolled";
      element.textContent = dropped.map((piece) => piece.text).join("");
      element.dataset.round = String(this.#rounds);
      fresh.append(element);
      this.#fading.push(element);
    }
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
