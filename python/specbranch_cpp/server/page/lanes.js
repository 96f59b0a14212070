// Draws the tracks of a timeline on a canvas.

import { firstAfter } from "./window.js";
import { shortSpan } from "./words.js";

/**
 * @typedef {object} Recorded a run, or a text of the server
 * @property {{target: import("./run.js").Span[], draft: import("./run.js").Span[]}} spans
 * @property {number} endMs
 *
 * @typedef {object} Lane
 * @property {Recorded} run
 * @property {"target" | "draft"} side
 * @property {string} label
 * @property {number} y upper edge of the bars in CSS pixels
 * @property {number} height height of the bars in CSS pixels
 *
 * @typedef {object} Frame the place of the time axis on the canvas
 * @property {number} left
 * @property {number} width
 * @property {number} begin milliseconds
 * @property {number} end
 */

export const LANE_HEIGHT = 30;
/** Room for the labels, in CSS pixels. */
export const LEFT = 72;
const COLOURS = ["target", "draft", "branch", "ink", "muted", "line", "idle", "surface", "wrong"];

/** @typedef {Record<string, string>} Palette */

/** Empties a canvas and makes it as sharp as the screen. @param {HTMLCanvasElement} canvas */
export function clear(canvas) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * scale));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
  return context;
}

/** The page's colours as they are now. @param {Element} element @returns {Palette} */
export function paletteOf(element) {
  const style = getComputedStyle(element);
  return Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`)]));
}

/** @param {Frame} frame @param {number} ms */
export const xOf = (frame, ms) => frame.left + ((ms - frame.begin) / (frame.end - frame.begin)) * frame.width;

/** @param {Frame} frame @param {number} x */
export const timeAt = (frame, x) => frame.begin + ((x - frame.left) / frame.width) * (frame.end - frame.begin);

/**
 * Draws lines at round times, and their labels.
 * @param {CanvasRenderingContext2D} context
 * @param {Frame} frame
 * @param {number} bottom
 * @param {Palette} palette
 */
export function drawAxis(context, frame, bottom, palette) {
  const rough = ((frame.end - frame.begin) / frame.width) * 90;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  context.textAlign = "center";
  for (let ms = Math.ceil(frame.begin / step) * step; ms <= frame.end; ms += step) {
    const x = Math.round(xOf(frame, ms)) + 0.5;
    context.fillStyle = palette.line;
    context.fillRect(x - 0.5, 0, 1, bottom + 4);
    context.fillStyle = palette.muted;
    const fits = x > 18 && x + 36 < frame.left + frame.width;
    if (fits) context.fillText(ms.toFixed(digits), x, bottom + 14);
  }
  context.textAlign = "right";
  context.fillText("ms", frame.left + frame.width, bottom + 14);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Lane} lane
 * @param {Frame} frame
 * @param {Palette} palette
 * @param {import("./run.js").Span | null} selected
 */
export function drawLane(context, lane, frame, palette, selected) {
  const spans = lane.run.spans[lane.side];
  drawIdle(context, lane, frame, palette);
  for (let i = firstAfter(spans, frame.begin); i < spans.length; i += 1) {
    const span = spans[i];
    if (span.begin_ms > frame.end) break;
    drawSpan(context, lane, frame, palette, span);
    if (span === selected) outline(context, lane, frame, palette, span);
  }
}

/**
 * Draws the background of a track. Time that no bar covers is a bubble.
 * @param {CanvasRenderingContext2D} context
 * @param {Lane} lane
 * @param {Frame} frame
 * @param {Palette} palette
 */
function drawIdle(context, lane, frame, palette) {
  const spans = lane.run.spans[lane.side];
  if (!spans.length) return;
  const from = Math.max(frame.left, xOf(frame, spans[0].begin_ms));
  const to = Math.min(frame.left + frame.width, xOf(frame, lane.run.endMs));
  if (to <= from) return;
  context.fillStyle = palette.idle;
  context.fillRect(from, lane.y, to - from, lane.height);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Lane} lane
 * @param {Frame} frame
 * @param {Palette} palette
 * @param {import("./run.js").Span} span
 */
function drawSpan(context, lane, frame, palette, span) {
  const from = Math.max(frame.left, xOf(frame, span.begin_ms));
  const to = Math.min(frame.left + frame.width, xOf(frame, span.end_ms));
  const width = to - from;
  // A bar narrower than a pixel is drawn with its share of the pixel, so that density is visible from far away.
  const gap = width > 4 ? 1 : 0;
  context.fillStyle = palette[lane.side];
  context.globalAlpha = span.kind === "prefill" ? 0.45 : 1;
  context.fillRect(from, lane.y, width - gap, lane.height);
  context.globalAlpha = 1;
  if (span.end !== "done") hatch(context, palette, from, lane.y, width - gap, lane.height);
  const label = lane.height < LANE_HEIGHT ? "" : shortSpan(span);
  if (label && span.end === "done" && width > 7 * label.length + 6) {
    context.fillStyle = span.kind === "prefill" ? palette.ink : palette.surface;
    context.textAlign = "center";
    context.fillText(label, from + (width - gap) / 2, lane.y + lane.height / 2 + 4);
  }
}

/**
 * Draws slanted stripes over an aborted command.
 * @param {CanvasRenderingContext2D} context
 * @param {Palette} palette
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
function hatch(context, palette, x, y, width, height) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = palette.surface;
  context.lineWidth = 2.5;
  context.beginPath();
  for (let at = x - height; at < x + width; at += 6) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Lane} lane
 * @param {Frame} frame
 * @param {Palette} palette
 * @param {import("./run.js").Span} span
 */
function outline(context, lane, frame, palette, span) {
  context.strokeStyle = palette.ink;
  context.lineWidth = 2;
  const x = xOf(frame, span.begin_ms);
  context.strokeRect(x - 1, lane.y - 2, xOf(frame, span.end_ms) - x + 2, lane.height + 4);
}

/**
 * Draws verifications: a filled triangle is a branch hit, an open triangle is a branch miss, and a
 * number is the number of rolled back tokens.
 * @param {CanvasRenderingContext2D} context
 * @param {import("./run.js").Run} run
 * @param {Frame} frame
 * @param {Palette} palette
 * @param {number} y above the target's track
 * @param {number} below below the draft's track
 */
export function drawVerdicts(context, run, frame, palette, y, below) {
  const { rounds } = run;
  const from = rounds.findIndex((round) => round.at_ms >= frame.begin);
  if (from < 0) return;
  const to = rounds.findIndex((round) => round.at_ms > frame.end);
  const seen = rounds.slice(from, to < 0 ? undefined : to);
  if (seen.length * 9 > frame.width) return; // the marks would overlap
  const numbers = seen.length * 20 <= frame.width;
  context.textAlign = "center";
  for (const round of seen) {
    const x = xOf(frame, round.at_ms);
    if (round.branch_hit) triangle(context, x, y, palette.branch, true);
    if (round.branch_miss) triangle(context, x, y, palette.muted, false);
    if (!round.rolled_back.length) continue;
    context.fillStyle = palette.wrong;
    if (!numbers) {
      context.fillRect(x - 1, below + 3, 2, 5);
    } else {
      context.fillText(`-${round.rolled_back.length}`, x, below + 11);
    }
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 * @param {boolean} filled
 */
function triangle(context, x, y, colour, filled) {
  context.beginPath();
  context.moveTo(x - 4, y);
  context.lineTo(x + 4, y);
  context.lineTo(x, y + 7);
  context.closePath();
  context.lineWidth = 1.2;
  context.fillStyle = context.strokeStyle = colour;
  if (filled) context.fill();
  else context.stroke();
}
