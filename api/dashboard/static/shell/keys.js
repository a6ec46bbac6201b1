// Single keys: pages say which they use, `?` lists them, and a switch in that list turns them off.
import { choose, chosen } from "./choices.js";
import { element } from "./dom.js";

/** What works a control is the control's own while it has the focus. */
const CONTROLS = "a, button, summary, input, select, textarea, [role=slider]";
const CONTROL_KEYS = new Set([" ", "Enter", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);
/** @type {Map<string, {help: string, act: (event: KeyboardEvent) => unknown}>} */
const bound = new Map();
/** @type {HTMLDialogElement | null} */
let dialog = null;

/**
 * Lets a key do something outside fields, and lists it in the help.
 * @param {string} key as `KeyboardEvent.key` names it: "n", "N", "Escape", " "
 * @param {string} help what it does, in a few words
 * @param {(event: KeyboardEvent) => unknown} act false: there was nothing to do, the browser may act
 */
export function onKey(key, help, act) {
  bound.set(key, { help, act });
}

/** Listens for keys, and opens the list of them. */
export function watchKeys() {
  onKey("?", "all keys", openHelp);
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target) || document.querySelector("dialog[open]") !== null) return;
    const found = bound.get(event.key);
    if (found === undefined || (chosen("keys") === "off" && event.key.length === 1)) return;
    if (CONTROL_KEYS.has(event.key) && event.target instanceof Element && event.target.matches(CONTROLS)) return;
    if (found.act(event) !== false) event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-open-keys]")) {
    button.addEventListener("click", openHelp);
  }
}

/**
 * @param {EventTarget | null} target
 * @returns {boolean}
 */
function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "range"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

function openHelp() {
  dialog?.remove();
  dialog = /** @type {HTMLDialogElement} */ (
    element("dialog", { class: "dialog", "aria-labelledby": "keys-title" }, heading(), list(), keySwitch(), close())
  );
  document.body.append(dialog);
  dialog.showModal();
}

function heading() {
  return element("h2", { id: "keys-title" }, "Keyboard");
}

function list() {
  const items = [...bound].map(([key, { help }]) =>
    element("div", {}, element("dt", {}, element("kbd", {}, key === " " ? "Space" : key)), element("dd", {}, help)),
  );
  return element("dl", { class: "keys" }, ...items);
}

function keySwitch() {
  const input = /** @type {HTMLInputElement} */ (element("input", { type: "checkbox" }));
  input.checked = chosen("keys") !== "off";
  input.addEventListener("change", () => choose("keys", input.checked ? null : "off"));
  return element("label", { class: "chk" }, input, "Single keys work outside fields");
}

function close() {
  const button = element("button", { class: "btn", type: "submit" }, "Close");
  return element("form", { method: "dialog", class: "acts" }, button);
}
