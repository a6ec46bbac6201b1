// What stands beside the log of the run page: facts, proof and replay, joined to the run's session.
import { mountProof } from "../proof/panel.js";
import { Replay } from "../replay/replay.js";
import { onKey } from "../shell/keys.js";
import { goToSection, watchSections } from "./panel.js";
import { ProofChip } from "./proof_chip.js";
import { showSeq } from "./seq.js";
import { ShownRun } from "./shown.js";
import { sizeText } from "../shell/words.js";

/**
 * Takes charge of all but the log. The session may have told growth already, the facts nothing.
 * @param {{session: import("../log/session.js").RunSession, log: import("../log/view.js").LogView, facts: EventTarget}} parts
 */
export function mountBeside({ session, log, facts }) {
  const root = /** @type {HTMLElement} */ (document.getElementById("run"));
  const shown = new ShownRun(root);
  facts.addEventListener("facts", (event) => shown.take(/** @type {CustomEvent} */ (event).detail.events));
  const replay = new Replay(section("replay"), { session, log, shown });
  const chip = new ProofChip(section("proof"), replay);
  mountProof(section("proof"), { session: facts, runId: session.runId });
  const output = new Output(session, replay);
  shown.addEventListener("shown", () => {
    chip.write();
    output.write();
    if (!replay.isOn && replay.lastSeq > 0) showSeq(replay.lastSeq);
  });
  watchSections();
  onKey("p", "go to the proof panel", () => goToSection("proof"));
  if (root.dataset.past !== undefined) openAt(Number(root.dataset.past), session, replay);
}

/** How much the run printed, wherever the page says it: what the server wrote into it may be older. */
class Output {
  /** @type {{stdoutBytes: number, stderrBytes: number} | null} up to what is shown */
  #counts = null;

  /**
   * @param {import("../log/session.js").RunSession} session
   * @param {Replay} replay
   */
  constructor(session, replay) {
    this.replay = replay;
    session.addEventListener("grown", (event) => this.#grown(/** @type {CustomEvent} */ (event).detail));
    document.addEventListener("as-of", (event) => {
      this.#counts = /** @type {CustomEvent} */ (event).detail ?? session.grown;
      this.write();
    });
    if (session.grown !== null) this.#grown(session.grown);
  }

  /** Writes it again, after parts of the page were replaced. */
  write() {
    if (this.#counts === null) return;
    const { stdoutBytes, stderrBytes } = this.#counts;
    writeText("[data-output]", `stdout ${sizeText(stdoutBytes)}, stderr ${sizeText(stderrBytes)}`);
  }

  /** @param {{seq: number, lines: number, bytes: number, stdoutBytes: number, stderrBytes: number}} now */
  #grown(now) {
    if (!this.replay.isOn) {
      this.#counts = now;
      showSeq(now.seq);
    }
    this.write();
    writeText("[data-lines]", `${now.lines.toLocaleString("en")} ${now.lines === 1 ? "line" : "lines"}`);
    writeText("[data-bytes]", sizeText(now.bytes));
  }
}

/**
 * @param {string} selector
 * @param {string} text
 */
function writeText(selector, text) {
  const target = document.querySelector(selector);
  if (target !== null && target.textContent !== text) target.textContent = text;
}

/**
 * Starts in the past, as soon as the log reaches that far.
 * @param {number} seq
 * @param {import("../log/session.js").RunSession} session
 * @param {Replay} replay
 */
function openAt(seq, session, replay) {
  const look = () => {
    if ((session.grown?.seq ?? 0) < seq) return;
    session.removeEventListener("grown", look);
    replay.seek({ seq });
  };
  session.addEventListener("grown", look);
  look();
}

/** @param {string} id */
function section(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
