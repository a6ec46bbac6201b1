// Copy buttons: `<button data-copy="text">`, on the page from the start or added later.
import { say } from "./dom.js";

const SHOWN_MS = 1500;

/** Copies what a button names when it is pressed. */
export function watchCopyButtons() {
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
    if (target !== null) void copyFrom(/** @type {HTMLElement} */ (target));
  });
}

/**
 * Puts text on the clipboard; false where the browser does not allow it.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // on plain http there is no clipboard interface
  }
}

/** @param {HTMLElement} button */
async function copyFrom(button) {
  const copied = await copyText(button.dataset.copy ?? "");
  say(copied ? "Copied" : "Not copied: this browser does not allow it");
  const use = button.querySelector("use");
  if (!copied || use === null) return;
  use.setAttribute("href", "#i-check");
  setTimeout(() => use.setAttribute("href", "#i-copy"), SHOWN_MS);
}

/**
 * @param {string} text
 * @returns {boolean}
 */
function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "vh";
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}
