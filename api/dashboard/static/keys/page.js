// The page of API keys and projects: makes and revokes through the API, then shows the page anew.
import { confirmed } from "../shell/confirm.js";
import { say } from "../shell/dom.js";
import { send } from "../shell/session.js";

watchDialogs();
watchRevoke();
watchForm("[data-new-key]", createKey);
watchForm("[data-new-project]", createProject);

function watchDialogs() {
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => {
      const dialog = document.getElementById(/** @type {HTMLElement} */ (button).dataset.open ?? "");
      if (dialog instanceof HTMLDialogElement) dialog.showModal();
    });
  }
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog")?.close());
  }
  document.querySelector("[data-done]")?.addEventListener("click", () => location.reload());
}

function watchRevoke() {
  for (const one of document.querySelectorAll("[data-revoke]")) {
    const button = /** @type {HTMLButtonElement} */ (one);
    button.addEventListener("click", () => void revoke(button));
  }
}

/** @param {HTMLButtonElement} button */
async function revoke(button) {
  const own = button.dataset.own === undefined ? "" : " This session belongs to it, so you will be signed out.";
  const sure = await confirmed({
    title: `Revoke ${button.dataset.name}`,
    text: `Programs that use this key are refused from now on, for good. What they have open ends within seconds. Runs that it started go on, and the log keeps saying what it did.${own}`,
    action: "Revoke the key",
    keep: "Keep it",
    danger: true,
  });
  if (!sure) return;
  button.disabled = true;
  try {
    await send("DELETE", `/v1/api-keys/${encodeURIComponent(button.dataset.revoke ?? "")}`);
    location.reload();
  } catch (error) {
    button.disabled = false;
    say(messageOf(error));
  }
}

/**
 * @param {string} selector
 * @param {(form: HTMLFormElement) => Promise<void>} act
 */
function watchForm(selector, act) {
  const form = document.querySelector(selector);
  if (!(form instanceof HTMLFormElement)) return;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = /** @type {HTMLButtonElement} */ (form.querySelector('button[type="submit"]'));
    button.disabled = true;
    try {
      await act(form);
    } catch (error) {
      show(form, messageOf(error));
    } finally {
      button.disabled = false;
    }
  });
}

/** @param {HTMLFormElement} form */
async function createKey(form) {
  const fields = new FormData(form);
  const project = String(fields.get("project"));
  const made = await send("POST", "/v1/api-keys", {
    name: fields.get("name"),
    scopes: fields.getAll("scope"),
    ...(project === "" ? {} : { projectIds: [project] }),
  });
  const dialog = /** @type {HTMLElement} */ (form.closest("dialog"));
  const shown = /** @type {HTMLElement} */ (dialog.querySelector("[data-secret]"));
  /** @type {HTMLElement} */ (shown.querySelector("[data-secret-text]")).textContent = made.secret;
  /** @type {HTMLElement} */ (shown.querySelector("[data-secret-copy]")).dataset.copy = made.secret;
  form.hidden = true;
  shown.hidden = false;
  dialog.addEventListener("close", () => location.reload());
  /** @type {HTMLElement} */ (shown.querySelector("[data-done]")).focus();
}

/** @param {HTMLFormElement} form */
async function createProject(form) {
  await send("POST", "/v1/projects", { name: new FormData(form).get("name") });
  location.reload();
}

/**
 * @param {HTMLFormElement} form
 * @param {string} message
 */
function show(form, message) {
  const line = /** @type {HTMLElement} */ (form.querySelector("[data-problem]"));
  line.textContent = message;
  line.hidden = false;
}

/**
 * @param {unknown} error
 * @returns {string}
 */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
