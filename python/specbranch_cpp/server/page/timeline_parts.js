// The elements of the timeline.

import { element } from "./dom.js";

/**
 * @typedef {object} Parts
 * @property {HTMLElement} root
 * @property {HTMLCanvasElement} overview the whole record
 * @property {HTMLCanvasElement} detail the window
 * @property {HTMLElement} info the selected command
 * @property {HTMLElement} state the visible part
 * @property {HTMLDetailsElement} table
 * @property {HTMLTableSectionElement} rows
 */

/** The class and the words of each mark. @type {[string, string][]} */
const KEY = [
  ["target", "target computes"],
  ["draft", "draft computes"],
  ["idle", "idle (bubble)"],
  ["cut", "aborted"],
  ["hit", "▼ branch hit"],
  ["miss", "▽ branch miss"],
  ["back", "-2 rolled back"],
];

/**
 * @param {HTMLElement} root
 * @param {Record<string, () => void>} actions actions of the buttons, by label
 * @returns {Parts}
 */
export function makeTimelineParts(root, actions) {
  const overview = document.createElement("canvas");
  overview.className = "overview";
  overview.setAttribute("aria-hidden", "true");
  const detail = document.createElement("canvas");
  detail.className = "detail";
  detail.tabIndex = 0;
  detail.setAttribute("role", "img");
  const info = element("p", "span-info", "Point at a bar, or click the timeline and use the arrow keys.");
  info.setAttribute("aria-live", "polite");
  const state = element("span", "hint", "");
  const buttons = element("div", "actions timeline-actions", "");
  for (const [label, action] of Object.entries(actions)) {
    const button = element("button", "quiet", label);
    button.setAttribute("type", "button");
    button.addEventListener("click", action);
    buttons.append(button);
  }
  buttons.append(state);
  const { table, rows } = makeTable();
  const vacant = element("p", "vacant-note hint", "The timeline of both models appears here.");
  root.classList.add("vacant");
  root.append(vacant, overview, detail, info, makeKey(), buttons, table);
  return { root, overview, detail, info, state, table, rows };
}

function makeKey() {
  const list = element("ul", "timeline-key", "");
  list.setAttribute("aria-label", "Key of the timeline");
  for (const [name, words] of KEY) list.append(element("li", `key-${name}`, words));
  return list;
}

function makeTable() {
  const table = document.createElement("details");
  table.className = "table";
  table.append(element("summary", "", "Timeline as a table"));
  const scroller = element("div", "table-scroller", "");
  scroller.tabIndex = 0;
  const grid = document.createElement("table");
  const head = grid.createTHead().insertRow();
  for (const title of ["model", "command", "start, ms", "duration, ms"]) {
    const cell = element("th", "", title);
    cell.setAttribute("scope", "col");
    head.append(cell);
  }
  const rows = grid.createTBody();
  scroller.append(grid);
  table.append(scroller);
  return { table, rows };
}

/**
 * @param {HTMLTableSectionElement} body
 * @param {string[][]} rows
 */
export function fillRows(body, rows) {
  body.replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const words of cells) row.insertCell().textContent = words;
    return row;
  }));
}
