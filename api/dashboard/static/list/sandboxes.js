// Sandboxes: what is left of their time, and killing, extending, revoking, each after a question.
import { clockText } from "../shell/words.js";
import { confirmed } from "../shell/confirm.js";
import { say } from "../shell/dom.js";
import { RequestFailed, send } from "../shell/session.js";
import { watchFilters } from "./filters.js";
import { watchRows } from "./rows.js";

const TICK_MS = 1000;

watchRows();
watchFilters();
writeLeft();
setInterval(() => {
  if (!document.hidden) writeLeft();
}, TICK_MS);
document.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("button"));
  if (button?.dataset.kill !== undefined) kill(button.dataset.kill);
  if (button?.dataset.revoke !== undefined) revoke(button.dataset.revoke);
  if (button?.dataset.extend !== undefined) extend(button.dataset.extend, Number(button.dataset.ttlMs));
});

/** @param {string} sandbox */
async function kill(sandbox) {
  const wanted = await confirmed({
    title: "Kill this sandbox?",
    text: `${sandbox} ends at once, with what runs in it and its files. Its record and its artifacts stay.`,
    action: "Kill the sandbox",
    danger: true,
  });
  if (wanted) await change("DELETE", `/v1/sandboxes/${sandbox}`, undefined, "The sandbox was killed.");
}

/** @param {string} preview */
async function revoke(preview) {
  const wanted = await confirmed({
    title: "Revoke this preview?",
    text: "Its address stops answering and open connections end. The sandbox lives on.",
    action: "Revoke the preview",
    danger: true,
  });
  if (wanted) await change("DELETE", `/v1/previews/${preview}`, undefined, "The preview was revoked.");
}

/**
 * @param {string} sandbox
 * @param {number} ttlMs
 */
async function extend(sandbox, ttlMs) {
  await change("POST", `/v1/sandboxes/${sandbox}/ttl`, { ttlMs }, "The sandbox has a new end.");
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} body
 * @param {string} done what is said when it is
 */
async function change(method, path, body, done) {
  try {
    await send(method, path, body);
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw error;
    show(error.message);
    return;
  }
  say(done);
  location.reload();
}

/** @param {string} problem */
function show(problem) {
  const place = /** @type {HTMLElement | null} */ (document.querySelector("[data-problem]"));
  const text = document.querySelector("[data-problem-text]");
  if (place === null || text === null) return;
  text.textContent = problem;
  place.hidden = false;
  say(problem);
}

function writeLeft() {
  for (const one of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-until]"))) {
    const left = Date.parse(one.dataset.until ?? "") - Date.now();
    one.textContent = left > 0 ? clockText(left) : "over";
    one.title = one.dataset.until ?? "";
  }
}
