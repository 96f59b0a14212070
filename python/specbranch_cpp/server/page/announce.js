// Announces the text to screen readers, in pieces instead of token by token.

import { byId } from "./dom.js";

const EVERY_MS = 5000;

export class Announcer {
  #told = 0;
  #at = performance.now();

  /** @param {import("./run.js").Run} run */
  constructor(run) {
    this.run = run;
  }

  /** Announces new text, if enough time has passed. */
  update() {
    const { text, over } = this.run;
    const now = performance.now();
    if (!over && now - this.#at < EVERY_MS) return;
    if (text.length === this.#told) return;
    byId("announcer").textContent = text.slice(this.#told);
    this.#told = text.length;
    this.#at = now;
  }
}
