// Keys, wheel and pointer on the timeline.

import { timeAt } from "./lanes.js";

/** @param {import("./timeline.js").Timeline} timeline */
export function listen(timeline) {
  const { detail, overview } = timeline.parts;
  detail.addEventListener("keydown", (event) => onKey(timeline, event));
  detail.addEventListener("wheel", (event) => onWheel(timeline, event), { passive: false });
  for (const kind of /** @type {const} */ (["pointerdown", "pointermove"])) {
    detail.addEventListener(kind, (event) => timeline.selectAt(event.offsetX, event.offsetY));
    overview.addEventListener(kind, (event) => onOverview(timeline, event));
  }
}

/** @param {import("./timeline.js").Timeline} timeline @param {KeyboardEvent} event */
function onKey(timeline, event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { window } = timeline;
  /** @type {Record<string, () => void>} */
  const actions = {
    ArrowLeft: () => timeline.step(-1),
    ArrowRight: () => timeline.step(1),
    ArrowUp: () => timeline.stepLane(-1),
    ArrowDown: () => timeline.stepLane(1),
    "+": () => window.zoom(1 / 2),
    "=": () => window.zoom(1 / 2),
    "-": () => window.zoom(2),
    PageUp: () => window.moveBy(-0.9 * window.width),
    PageDown: () => window.moveBy(0.9 * window.width),
    Home: () => window.moveTo(0),
    End: () => window.moveTo(window.total),
    0: () => window.showAll(),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
  timeline.draw();
}

/** @param {import("./timeline.js").Timeline} timeline @param {WheelEvent} event */
function onWheel(timeline, event) {
  const { window } = timeline;
  if (event.ctrlKey) {
    window.zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(timeline.frame, event.offsetX));
  } else if (event.shiftKey || event.deltaX) {
    window.moveBy(((event.deltaX || event.deltaY) / 600) * window.width);
  } else {
    return; // the page scrolls
  }
  event.preventDefault();
  timeline.draw();
}

/** @param {import("./timeline.js").Timeline} timeline @param {PointerEvent} event */
function onOverview(timeline, event) {
  if (!event.buttons) return;
  timeline.window.moveTo(timeAt(timeline.overviewFrame, event.offsetX) - timeline.window.width / 2);
  timeline.draw();
}
