// Cancels the run, after a question that says what stays and what is lost.
import { element, icon, say } from "../shell/dom.js";
import { RequestFailed, send } from "../shell/session.js";
import { timeElement } from "../shell/times.js";

const ENDED = new Set(["succeeded", "failed"]);

/**
 * Watches the buttons of the question, also when the head was replaced.
 * @param {string} runId
 */
export function watchCancel(runId) {
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const button = target?.closest("[data-cancel]");
    if (button instanceof HTMLButtonElement) void cancel(runId, button);
    if (target?.closest("[data-keep]")) close();
  });
}

/**
 * @param {string} runId
 * @param {HTMLButtonElement} button
 */
async function cancel(runId, button) {
  button.disabled = true;
  button.textContent = "Canceling";
  try {
    const { workspaceRun } = await send("POST", `/v1/workspace-runs/${runId}/cancel`);
    close();
    notice(...outcome(workspaceRun));
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw error;
    notice("bad", "This run was not canceled.", error.message);
  } finally {
    button.disabled = false;
    button.textContent = "Cancel the run";
  }
}

/**
 * What became of it, said by the run that the server answered.
 * @param {any} run
 * @returns {["info" | "bad", string, ...(string | Node)[]]}
 */
function outcome(run) {
  if (run.status === "canceled") return ["info", "This run is canceled.", "What was recorded before stays."];
  if (ENDED.has(run.status)) {
    const code = run.exitCode === undefined ? "" : ` with exit code ${run.exitCode}`;
    return ["bad", "This run could not be canceled.", `It had already ended${code} `, timeElement(run.finishedAt), "."];
  }
  if (run.status === "collecting") {
    return ["bad", "This run could not be canceled.", "Its command has ended, and its artifacts are being collected."];
  }
  return ["info", "Cancel was asked for.", "The command is being stopped. The status changes when it has ended."];
}

function close() {
  const panel = document.getElementById("cancel");
  if (!(panel instanceof HTMLDetailsElement)) return;
  panel.open = false;
  panel.querySelector("summary")?.focus();
}

/**
 * @param {"info" | "bad"} state
 * @param {string} title
 * @param {...(string | Node)} text
 */
function notice(state, title, ...text) {
  const words = element("div", {}, element("strong", {}, title), " ", ...text);
  const glyph = icon(state === "bad" ? "bad" : "stop");
  document.getElementById("cancel-notice")?.replaceChildren(
    element("div", { class: "notice", "data-state": state }, glyph, words),
  );
  say(words.textContent ?? "");
}
