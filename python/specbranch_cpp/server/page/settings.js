// The switches and fields of the generation settings.

import { byId } from "./dom.js";
import { PLAIN, randomSeed } from "./requests.js";

export class SettingsForm {
  #form = /** @type {HTMLFormElement} */ (byId("composer"));
  #mode = /** @type {HTMLSelectElement} */ (byId("mode"));
  #speculation = /** @type {HTMLInputElement} */ (byId("speculation"));
  #lastSpeculative = "auto";
  #isChosen = false; // by the user, maybe before the server has answered

  constructor() {
    this.#speculation.addEventListener("change", () => {
      this.#isChosen = true;
      this.#mode.value = this.#speculation.checked ? this.#lastSpeculative : PLAIN;
    });
    this.#mode.addEventListener("change", () => {
      this.#isChosen = true;
      this.#modeChanged();
    });
  }

  /** Adapts the settings to the server's model. @param {Record<string, any>} meta */
  offer(meta) {
    this.kind = meta.has_chat_template ? "chat" : "complete";
    const chat = /** @type {HTMLInputElement} */ (this.#form.querySelector('[value="chat"]'));
    chat.disabled = meta.has_chat_template === false;
    // The title belongs to the label, because the radio button itself is transparent.
    /** @type {HTMLElement} */ (chat.parentElement).title = chat.disabled
      ? "this model has no chat template; specbranch serve --chat-template-file sets one"
      : "";
    const drafts = Boolean(meta.draft);
    if (!drafts) this.#mode.value = PLAIN;
    else if (!this.#isChosen) this.#mode.value = meta.mode ?? "auto";
    this.#modeChanged();
    this.#mode.disabled = this.#speculation.disabled = !drafts;
    byId("compare").hidden = !drafts;
    if (meta.n_ctx) /** @type {HTMLInputElement} */ (byId("max-tokens")).max = String(meta.n_ctx);
  }

  #modeChanged() {
    this.#speculation.checked = this.#mode.value !== PLAIN;
    if (this.#speculation.checked) this.#lastSpeculative = this.#mode.value;
  }

  get kind() {
    return new FormData(this.#form).get("kind") === "chat" ? "chat" : "complete";
  }

  /** @param {"chat" | "complete"} kind */
  set kind(kind) {
    const radio = this.#form.querySelector(`[name="kind"][value="${kind}"]`);
    /** @type {HTMLInputElement} */ (radio).checked = true;
  }

  /** Whether every field is within its limits. Shows a field that is not. */
  check() {
    if (this.#form.checkValidity()) return true;
    /** @type {HTMLDetailsElement} */ (this.#form.querySelector(".settings")).open = true;
    return this.#form.reportValidity();
  }

  /** @returns {import("./requests.js").Settings} */
  read() {
    return {
      kind: this.kind,
      mode: this.#mode.value,
      maxTokens: Number(value("max-tokens")),
      temperature: Number(value("temperature")),
      seed: value("seed") === "" ? randomSeed() : Number(value("seed")),
      kMax: value("max-branches") === "" ? null : Number(value("max-branches")),
    };
  }

  /** Whether the server has a draft model. */
  get canSpeculate() {
    return !this.#speculation.disabled;
  }

  /** The mode of runs with speculation, also while the switch is off. */
  get speculativeMode() {
    return this.#lastSpeculative;
  }
}

/** @param {string} id */
const value = (id) => /** @type {HTMLInputElement} */ (byId(id)).value.trim();
