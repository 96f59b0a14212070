// The timeline: a track for each model of each run, and an overview of the whole record.

import { clear, drawAxis, drawLane, drawVerdicts, LANE_HEIGHT, LEFT, paletteOf, timeAt, xOf } from "./lanes.js";
import { listen } from "./timeline_input.js";
import { fillRows, makeTimelineParts } from "./timeline_parts.js";
import { firstAfter, readableWidth, TimeWindow } from "./window.js";
import { describeSpan, milliseconds } from "./words.js";

const OVERVIEW_HEIGHT = 34;
const OVERVIEW_EVERY_MS = 250;
const MOST_ROWS = 200;
const SIDES = /** @type {const} */ (["target", "draft"]);

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Span} Span */

export class Timeline {
  /** @type {Run[]} */
  #runs = [];
  /** @type {import("./lanes.js").Lane[]} */
  #lanes = [];
  /** @type {{lane: number, span: Span} | null} */
  #selected = null;
  /** The moment of the token under the pointer. @type {{run: Run, ms: number} | null} */
  #mark = null;
  /** The time of the last drawing of the overview. */
  #drawnAt = 0;

  /**
   * @param {HTMLElement} root
   * @param {() => void} onReplay called to replay the record
   */
  constructor(root, onReplay) {
    this.window = new TimeWindow();
    const act = (/** @type {() => void} */ change) => () => {
      change();
      this.draw();
    };
    this.parts = makeTimelineParts(root, {
      Closer: act(() => this.window.zoom(1 / 2)),
      Further: act(() => this.window.zoom(2)),
      All: act(() => this.window.showAll()),
      "Go to the end": act(() => this.window.follow()),
      "Replay slowly": onReplay,
    });
    this.parts.table.addEventListener("toggle", () => this.#fillTable());
    listen(this);
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** Shows other runs. @param {Run[]} runs in order, the first on top */
  show(runs) {
    this.#runs = runs;
    this.#selected = this.#mark = null;
    this.window = new TimeWindow();
    this.update();
  }

  /** Highlights a moment. @param {Run} run @param {number | null} ms */
  mark(run, ms) {
    if (!this.#runs.includes(run)) return;
    this.#mark = ms === null ? null : { run, ms };
    if (ms !== null && run.over) this.window.reveal(ms, ms);
    this.draw();
  }

  /** Draws the new parts of the runs. */
  update() {
    this.#layOut();
    const total = Math.max(0, ...this.#runs.map((run) => run.endMs));
    this.parts.root.classList.toggle("vacant", !total);
    const over = this.#runs.every((run) => run.over);
    const readable = readableWidth(this.#runs, this.frame.width);
    this.window.grow(total, over && total ? Math.min(total, readable) : readable);
    // At the end of a comparison, show the beginning, where both runs are.
    if (over && this.#runs.length > 1 && this.window.follows) this.window.moveTo(0);
    const due = over || performance.now() - this.#drawnAt > OVERVIEW_EVERY_MS;
    if (due) this.#drawnAt = performance.now();
    this.draw(due);
  }

  #layOut() {
    const name = (/** @type {Run} */ run) =>
      this.#runs.length < 2 ? "" : run.request.speculates ? " on" : " off";
    this.#lanes = [];
    let y = 16;
    for (const run of this.#runs) {
      for (const side of SIDES) {
        if (side === "draft" && !run.request.speculates) continue;
        this.#lanes.push({ run, side, label: side + name(run), y, height: LANE_HEIGHT });
        y += LANE_HEIGHT + 4;
      }
      y += 28;
    }
    this.parts.detail.style.height = `${Math.max(y + 6, 110)}px`;
  }

  /** @param {boolean} whole whether to draw the overview, too */
  draw(whole = true) {
    const frame = this.frame;
    if (frame.width <= 0) return; // a narrow window has no room
    const palette = paletteOf(this.parts.detail);
    const context = clear(this.parts.detail);
    const bottom = (this.#lanes.at(-1)?.y ?? 40) + LANE_HEIGHT + 16;
    if (this.window.total) drawAxis(context, frame, bottom, palette);
    this.#lanes.forEach((lane, i) => {
      context.textAlign = "left";
      context.fillStyle = palette.ink;
      context.fillText(lane.label, 0, lane.y + LANE_HEIGHT / 2 + 4);
      drawLane(context, lane, frame, palette, this.#selected?.lane === i ? this.#selected.span : null);
    });
    for (const run of this.#runs) this.#drawRun(context, run, frame, palette);
    if (whole) this.#drawOverview(palette);
    this.#tell();
  }

  /**
   * Draws the verifications and the highlighted moment.
   * @param {CanvasRenderingContext2D} context
   * @param {Run} run
   * @param {import("./lanes.js").Frame} frame
   * @param {import("./lanes.js").Palette} palette
   */
  #drawRun(context, run, frame, palette) {
    const lanes = this.#lanes.filter((lane) => lane.run === run);
    const top = lanes[0].y;
    const below = lanes[lanes.length - 1].y + LANE_HEIGHT;
    drawVerdicts(context, run, frame, palette, top - 10, below);
    if (this.#mark?.run !== run) return;
    const x = xOf(frame, this.#mark.ms);
    context.fillStyle = palette.ink;
    if (x >= frame.left) context.fillRect(x - 0.75, top - 12, 1.5, below - top + 16);
  }

  /** @param {import("./lanes.js").Palette} palette */
  #drawOverview(palette) {
    const context = clear(this.parts.overview);
    const { total, begin, end } = this.window;
    if (!total) return;
    const frame = this.overviewFrame;
    const height = (OVERVIEW_HEIGHT - 6) / this.#lanes.length;
    this.#lanes.forEach((lane, i) => {
      drawLane(context, { ...lane, y: 3 + i * height, height: height - 1 }, frame, palette, null);
    });
    const [from, to] = [xOf(frame, begin), xOf(frame, Math.min(end, total))];
    context.fillStyle = palette.surface;
    context.globalAlpha = 0.6;
    context.fillRect(frame.left, 0, from - frame.left, OVERVIEW_HEIGHT);
    context.fillRect(to, 0, frame.left + frame.width - to, OVERVIEW_HEIGHT);
    context.globalAlpha = 1;
    context.strokeStyle = palette.ink;
    context.lineWidth = 1.5;
    context.strokeRect(from + 0.75, 0.75, Math.max(2, to - from - 1.5), OVERVIEW_HEIGHT - 1.5);
  }

  /** Describes the canvas for screen readers. */
  #tell() {
    const { detail, state } = this.parts;
    const { begin, end, total } = this.window;
    const seen = `${milliseconds(begin)} to ${milliseconds(Math.min(end, total))} of ${milliseconds(total)}`;
    state.textContent = total ? seen : "";
    const [target, draft] = SIDES.map((side) =>
      this.#runs.reduce((sum, run) => sum + run.spans[side].length, 0));
    const lanes = this.#lanes.map((lane) => lane.label).join(",");
    Object.assign(detail.dataset, { lanes, targetSpans: target, draftSpans: draft, begin, end, total });
    detail.setAttribute(
      "aria-label",
      `Timeline with ${target} commands of the target and ${draft} of the draft. It shows ${seen}. ` +
        "The arrow keys go through the commands; plus and minus zoom.",
    );
    if (this.#runs.every((run) => run.over)) this.#fillTable();
  }

  /** The place of the time axis on the detail. */
  get frame() {
    const { begin, end } = this.window;
    return { left: LEFT, width: this.parts.detail.clientWidth - LEFT, begin, end };
  }

  /** The place of the time axis on the overview. */
  get overviewFrame() {
    return { left: LEFT, width: this.parts.overview.clientWidth - LEFT, begin: 0, end: this.window.total };
  }

  /** Selects the next or previous command of the track. @param {number} by */
  step(by) {
    const lane = this.#selected?.lane ?? 0;
    const spans = this.#spans(lane);
    const first = firstAfter(spans, this.window.begin);
    this.#select(lane, spans[this.#selected ? spans.indexOf(this.#selected.span) + by : first]);
  }

  /** Selects the command of another track at the same time. @param {number} by */
  stepLane(by) {
    const lane = Math.max(0, Math.min(this.#lanes.length - 1, (this.#selected?.lane ?? 0) + by));
    const spans = this.#spans(lane);
    const at = firstAfter(spans, this.#selected?.span.begin_ms ?? this.window.begin);
    this.#select(lane, spans[at] ?? spans.at(-1));
  }

  /** Selects the command at a place of the detail. @param {number} x @param {number} y */
  selectAt(x, y) {
    const lane = this.#lanes.findIndex((one) => y >= one.y && y < one.y + one.height);
    const ms = timeAt(this.frame, x);
    const spans = this.#spans(lane);
    const span = spans[firstAfter(spans, ms)];
    if (x >= LEFT && span?.begin_ms <= ms) this.#select(lane, span);
  }

  /** @param {number} lane @returns {Span[]} */
  #spans(lane) {
    const one = this.#lanes[lane];
    return one ? one.run.spans[one.side] : [];
  }

  /** @param {number} lane @param {Span | undefined} span */
  #select(lane, span) {
    if (!span || span === this.#selected?.span) return;
    this.#selected = { lane, span };
    this.parts.info.textContent =
      `${this.#lanes[lane].label}: ${describeSpan(span)}, ` +
      `${milliseconds(span.end_ms - span.begin_ms)} from ${milliseconds(span.begin_ms)}`;
    this.window.reveal(span.begin_ms, span.end_ms);
    this.draw();
  }

  /** The commands in the window, up to a readable number. */
  #fillTable() {
    const { table, rows } = this.parts;
    if (!table.open) return;
    const seen = this.#lanes.flatMap((lane, i) => {
      const from = firstAfter(this.#spans(i), this.window.begin);
      const spans = this.#spans(i).slice(from, from + MOST_ROWS);
      return spans.filter((span) => span.begin_ms < this.window.end).map((span) => ({ lane, span }));
    });
    seen.sort((a, b) => a.span.begin_ms - b.span.begin_ms);
    fillRows(rows, seen.slice(0, MOST_ROWS).map(({ lane, span }) => {
      const times = [span.begin_ms, span.end_ms - span.begin_ms].map((ms) => ms.toFixed(2));
      return [lane.label, describeSpan(span), ...times];
    }));
  }
}
