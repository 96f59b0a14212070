// Theme, colours, and the visibility of rolled back tokens.

import { byId } from "./dom.js";

const THEMES = ["system", "light", "dark"];
const THEME_KEY = "specbranch-theme";

/** Connects the switches. @param {() => void} onChange called when the colours have changed */
export function setUpLook(onChange) {
  const root = document.documentElement;
  const button = byId("theme");
  const set = (/** @type {string} */ theme) => {
    root.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    onChange();
  };
  set(localStorage.getItem(THEME_KEY) ?? "system");
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
    localStorage.setItem(THEME_KEY, next);
    set(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  for (const [id, name] of [["colours", "monochrome"], ["keep", "keep-rolled"]]) {
    const box = /** @type {HTMLInputElement} */ (byId(id));
    const apply = () => root.classList.toggle(name, box.checked === (id === "keep"));
    box.addEventListener("change", apply);
    apply();
  }
}
