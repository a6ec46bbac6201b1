// The entry of the run page: joins the run's stream to log, proof, facts and replay.
import { openRun } from "../log/session.js";
import { mountLog } from "../log/view.js";
import { mountProof } from "../proof/panel.js";
import { Replay } from "../replay/replay.js";
import { copyText } from "../shell/copy.js";
import { say } from "../shell/dom.js";
import { onKey } from "../shell/keys.js";
import { watchCancel } from "./cancel.js";
import { goToSection, watchSections } from "./panel.js";
import { ProofChip } from "./proof_chip.js";
import { showSeq } from "./seq.js";
import { ShownRun } from "./shown.js";
import { sizeText } from "../shell/words.js";

const root = /** @type {HTMLElement} */ (document.getElementById("run"));
const runId = root.dataset.runId ?? "";
/** @type {{stdoutBytes: number, stderrBytes: number} | null} output up to what is shown */
let counts = null;
const session = openRun(runId);
const shown = new ShownRun(root);
session.addEventListener("facts", (event) => shown.take(/** @type {CustomEvent} */ (event).detail.events));
const log = mountLog(section("log"), session);
const replay = new Replay(section("replay"), { session, log, shown });
session.addEventListener("grown", (event) => showGrowth(/** @type {CustomEvent} */ (event).detail));
const chip = new ProofChip(section("proof"), replay);
mountProof(section("proof"), { session, runId });
shown.addEventListener("shown", () => {
  chip.write();
  showOutput();
  if (!replay.isOn && replay.lastSeq > 0) showSeq(replay.lastSeq);
});
document.addEventListener("as-of", (event) => {
  counts = /** @type {CustomEvent} */ (event).detail ?? session.grown;
  showOutput();
});
watchCancel(runId);
watchSections();
onKey("p", "go to the proof panel", () => goToSection("proof"));
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-copy-link]") : null;
  if (button !== null) void copyLink();
});
if (root.dataset.past !== undefined) openAt(Number(root.dataset.past));

/** Counts between two facts: what the server wrote into its page may be older. */
function showOutput() {
  if (counts !== null) write("[data-output]", `stdout ${sizeText(counts.stdoutBytes)}, stderr ${sizeText(counts.stderrBytes)}`);
}

/** @param {{seq: number, lines: number, bytes: number, stdoutBytes: number, stderrBytes: number}} detail */
function showGrowth(detail) {
  const { lines, bytes } = detail;
  if (!replay.isOn) {
    counts = detail;
    showSeq(detail.seq);
  }
  showOutput();
  write("[data-lines]", `${lines.toLocaleString("en")} ${lines === 1 ? "line" : "lines"}`);
  write("[data-bytes]", sizeText(bytes));
}

/**
 * @param {string} selector
 * @param {string} text
 */
function write(selector, text) {
  const target = document.querySelector(selector);
  if (target !== null && target.textContent !== text) target.textContent = text;
}

/** Copies where this page is: in replay with the event that is shown. */
async function copyLink() {
  const copied = await copyText(location.href);
  say(copied ? "Link copied" : "Not copied: this browser does not allow it");
}

/**
 * Starts in the past, as soon as the log reaches that far.
 * @param {number} seq
 */
function openAt(seq) {
  const onGrown = (/** @type {Event} */ event) => {
    if (/** @type {CustomEvent} */ (event).detail.seq < seq) return;
    session.removeEventListener("grown", onGrown);
    replay.seek({ seq });
  };
  session.addEventListener("grown", onGrown);
}

/** @param {string} id */
function section(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
