// Asks before something is done that cannot be taken back. The safe answer has the focus.
import { element } from "./dom.js";

/**
 * Whether the reader wants it.
 * @param {{title: string, text: string, action: string, keep?: string, danger?: boolean}} question `action` names what the
 *   button does
 * @returns {Promise<boolean>} false also for Escape
 */
export function confirmed({ title, text, action, keep = "Leave it", danger = false }) {
  const leave = element("button", { class: "btn", type: "submit", value: "no", autofocus: true }, keep);
  const act = element("button", { class: danger ? "btn btn--danger" : "btn btn--main", type: "submit", value: "yes" }, action);
  const dialog = /** @type {HTMLDialogElement} */ (
    element(
      "dialog",
      { class: "dialog", "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text" },
      element("h2", { id: "confirm-title" }, title),
      element("p", { class: "sec", id: "confirm-text" }, text),
      element("form", { method: "dialog", class: "acts" }, leave, act),
    )
  );
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    dialog.showModal();
  });
}
