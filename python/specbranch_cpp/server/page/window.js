// The visible part of the timeline: start and end in milliseconds. No DOM.

const SHORTEST_MS = 0.5;
/** Width of a typical target step in CSS pixels, until the user zooms. */
const STEP_WIDTH = 26;

export class TimeWindow {
  begin = 0;
  /** At first, wide enough to show single commands. */
  width = 40;
  /** The end of the record. */
  total = 0;
  /** Whether the user chose the width. */
  #chosen = false;
  /** Whether the window follows the growing end. */
  follows = true;

  get end() {
    return this.begin + this.width;
  }

  /**
   * Sets the new length of the record.
   * @param {number} total
   * @param {number} width width to use until the user zooms
   */
  grow(total, width = this.width) {
    this.total = total;
    if (!this.#chosen) this.width = width;
    if (this.follows) this.begin = Math.max(0, total - this.width);
  }

  /** Goes to the end and stays there. */
  follow() {
    this.follows = true;
    this.grow(this.total);
  }

  /** @param {number} ms */
  moveBy(ms) {
    this.moveTo(this.begin + ms);
  }

  /** @param {number} begin */
  moveTo(begin) {
    this.begin = Math.max(0, Math.min(begin, this.total - this.width));
    this.follows = false;
  }

  /**
   * @param {number} factor below 1: zoom in
   * @param {number} at the moment that keeps its place
   */
  zoom(factor, at = this.begin + this.width / 2) {
    this.#chosen = true;
    const width = Math.min(Math.max(this.total, SHORTEST_MS), Math.max(SHORTEST_MS, this.width * factor));
    const begin = at - (at - this.begin) * (width / this.width);
    this.width = width;
    this.moveTo(begin);
  }

  showAll() {
    this.#chosen = true;
    this.width = Math.max(this.total, SHORTEST_MS);
    this.moveTo(0);
  }

  /** Moves the window by the smallest distance that shows the given part. @param {number} from @param {number} to */
  reveal(from, to) {
    if (to > this.end) this.moveTo(to - 0.8 * this.width);
    if (from < this.begin) this.moveTo(from - 0.2 * this.width);
  }
}

/**
 * Index of the first span that ends after `ms`; the spans are in order of time.
 * @param {import("./run.js").Span[]} spans
 * @param {number} ms
 */
export function firstAfter(spans, ms) {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle].end_ms > ms) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * The width in milliseconds at which single commands are visible.
 * @param {import("./run.js").Run[]} runs
 * @param {number} pixels width for the commands
 */
export function readableWidth(runs, pixels) {
  const spans = runs.flatMap((run) => run.spans.target.slice(0, 50));
  const steps = spans.map((span) => span.end_ms - span.begin_ms).sort((a, b) => a - b);
  const typical = Math.max(0.1, steps[steps.length >> 1] ?? 1);
  return (typical * Math.max(100, pixels)) / STEP_WIDTH;
}
