// Shows errors, with a button to try again.

import { ApiError, rememberKey } from "./api.js";
import { byId, element } from "./dom.js";

/** Removes the last error. */
export function clearProblem() {
  const box = byId("problem");
  box.hidden = true;
  box.replaceChildren();
}

/**
 * @param {Error} error
 * @param {() => void} retry
 */
export function showProblem(error, retry) {
  const box = byId("problem");
  const wait = error instanceof ApiError ? (error.retryAfter ?? 0) : 0;
  const again = /** @type {HTMLButtonElement} */ (element("button", "", "Try again"));
  again.type = "button";
  again.addEventListener("click", () => {
    clearProblem();
    retry();
  });
  box.replaceChildren(element("p", "", wordsOf(error)), again);
  box.hidden = false;
  countDown(again, Math.ceil(wait));
}

/** @param {Error} error */
function wordsOf(error) {
  if (!(error instanceof ApiError)) return `${capital(error.message)}. The text so far is kept.`;
  const after = error.retryAfter === null ? "" : ` Wait ${Math.ceil(error.retryAfter)} s.`;
  if (error.status === 429) return `The server is busy: ${error.message}.${after}`;
  if (error.status >= 400 && error.status < 500) return `The server refused the request: ${error.message}`;
  return `The server reported an error: ${error.message}${after}`;
}

/** @param {string} words */
const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** Disables the button for some seconds. @param {HTMLButtonElement} button @param {number} seconds */
function countDown(button, seconds) {
  button.disabled = seconds > 0;
  button.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
  if (seconds > 0 && button.isConnected) setTimeout(() => countDown(button, seconds - 1), 1000);
}

/**
 * Asks for the API key.
 * @returns {Promise<boolean>} whether the user gave a key
 */
export function askForKey() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("key-dialog"));
  const field = /** @type {HTMLInputElement} */ (byId("key"));
  dialog.returnValue = "";
  field.value = "";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use" && field.value !== "";
      if (given) rememberKey(field.value);
      resolve(given);
    }, { once: true });
  });
}
