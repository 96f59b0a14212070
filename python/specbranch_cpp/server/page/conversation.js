// The turns of a conversation: a prompt, and its answer with speculation, without, or both.

import { element } from "./dom.js";
import { compareTexts, figures, speedUp } from "./figures.js";
import { TextView } from "./text_view.js";
import { fixed, milliseconds } from "./words.js";

/** @typedef {import("./run.js").Run} Run */

const ENDS = {
  waiting: "waiting",
  running: "running",
  stopped: "stopped",
  failed: "failed",
};

/** One answer: a head with its figures, and the text. */
class Answer {
  /** @param {Run} run @param {TextView["onPoint"]} onPoint */
  constructor(run, onPoint) {
    this.run = run;
    this.view = new TextView(run, onPoint);
    this.element = element("section", "answer", "");
    this.element.dataset.variant = run.request.speculates ? "on" : "off";
    const head = element("header", "answer-head", "");
    this.figures = element("span", "answer-figures", "");
    const name = run.request.speculates ? `speculation on, ${run.request.body.mode}` : "speculation off";
    head.append(element("strong", "", name), this.figures);
    this.element.append(head, this.view.element);
  }

  update() {
    const { run } = this;
    this.view.update();
    this.element.dataset.status = run.status;
    const { nTokens, decodeMs, tokensPerSecond } = figures(run);
    const words = [run.status === "done" ? "" : ENDS[run.status]];
    if (nTokens) words.push(`${nTokens} tokens, ${milliseconds(decodeMs)}, ${fixed(tokensPerSecond, 0)} tokens/s`);
    if (run.finishReason === "length") words.push("ended at the token limit");
    this.figures.textContent = words.filter(Boolean).join(" · ");
    this.figures.title = run.stats?.mode_reason ?? "";
  }
}

export class Turn {
  /** @type {{on?: Answer, off?: Answer}} */
  #answers = {};

  /**
   * @param {string} prompt
   * @param {string | import("./requests.js").Message[]} input the input of the model
   * @param {string} key the key of the turn's requests
   */
  constructor(prompt, input, key) {
    this.prompt = prompt;
    this.input = input;
    this.key = key;
    /** The settings of the last run. @type {import("./requests.js").Settings | null} */
    this.settings = null;
    this.element = element("article", "turn", "");
    this.element.append(element("h3", "hidden", "Prompt"), element("div", "prompt", prompt));
    this.answers = element("div", "answers", "");
    this.verdict = element("p", "verdict", "");
    this.verdict.hidden = true;
    this.element.append(this.answers, this.verdict);
  }

  /** The runs with and without speculation. @returns {{on?: Run, off?: Run}} */
  get runs() {
    return { on: this.#answers.on?.run, off: this.#answers.off?.run };
  }

  /** The existing runs. @returns {Run[]} */
  get list() {
    return [this.runs.on, this.runs.off].filter((run) => run !== undefined);
  }

  /**
   * Adds an answer. It replaces an answer with the same setting of speculation.
   * @param {Run} run
   * @param {TextView["onPoint"]} onPoint
   */
  add(run, onPoint) {
    const way = run.request.speculates ? "on" : "off";
    const answer = new Answer(run, onPoint);
    this.#answers[way]?.element.remove();
    this.#answers[way] = answer;
    if (way === "on") this.answers.prepend(answer.element);
    else this.answers.append(answer.element);
    this.update();
  }

  update() {
    this.#answers.on?.update();
    this.#answers.off?.update();
    const { on, off } = this.runs;
    const both = on?.over && off?.over && on.text !== "" && off.text !== "";
    this.verdict.hidden = !both;
    if (!both) return;
    const { equal, words } = compareTexts(on, off);
    const ratio = speedUp(on, off);
    this.verdict.dataset.equal = String(equal);
    this.verdict.textContent =
      ratio === null ? words : `${words} The speed with speculation is ${ratio.toFixed(2)} times that without.`;
  }
}
