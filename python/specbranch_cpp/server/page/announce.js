// Reads the text to those who listen: in pieces, not token by token.

import { byId } from "./dom.js";

const EVERY_MS = 5000;

export class Announcer {
  #told = 0;
  #at = performance.now();

  /** @param {import("./run.js").Run} run */
  constructor(run) {
    this.run = run;
  }

  /** Announces what is new, if it is time. */
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
