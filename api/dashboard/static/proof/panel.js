// Owns the proof panel of the run page: checks in this browser on demand, and says what came of it.
// @ts-check

import { element, icon, say } from "../shell/dom.js";
import { onKey } from "../shell/keys.js";
import { timeElement, writeTimes } from "../shell/times.js";
import { obstacle } from "./obstacle.js";
import { forgetRun, rememberKeys, rememberRun, rememberedKeys, rememberedRun } from "./pins.js";
import { ruler } from "./ruler.js";
import { failedView, heldView, memoryNotices, verdict } from "./views.js";
import { counted, sizeText } from "../shell/words.js";
import { failureOf, heldWords, stateOf } from "./words.js";

/** @typedef {import("./words.js").Report} Report */

/**
 * Takes charge of the panel.
 * @param {HTMLElement} section `#proof`, with what the server rendered in it.
 * @param {{runId: string, session?: EventTarget}} context `session` tells events of the run while it goes on ("facts").
 */
export function mountProof(section, context) {
  const panel = new ProofPanel(section, context.runId);
  onKey("v", "verify in this browser", () => panel.check());
  context.session?.addEventListener("facts", (event) => {
    const { events } = /** @type {CustomEvent<{events: {type: string}[]}>} */ (event).detail;
    if (events.some(({ type }) => type === "terminal")) void panel.runEnded();
  });
  return panel;
}

/** The panel. `check` starts, `stop` ends a check. */
export class ProofPanel {
  /** @param {HTMLElement} section @param {string} runId */
  constructor(section, runId) {
    this._section = section;
    this._runId = runId;
    /** @type {Worker | null} */
    this._worker = null;
    /** @type {string | null} */
    this._obstacle = null;
    this._isSealed = section.dataset.sealed === "true";
    void this._begin();
  }

  /** Check now, unless a check is going on or cannot be made here. */
  check() {
    if (this._worker || this._obstacle) return;
    this._showChecking({ done: 0, signed: 0, bytes: 0, bytesTotal: 0, losses: 0 });
    this._reveal();
    this._tell("checking");
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this._worker = worker;
    worker.addEventListener("message", ({ data }) => {
      if (worker === this._worker) this._hear(data);
    });
    worker.addEventListener("error", () => this._unfinished("the checking code could not be loaded"));
    worker.postMessage({
      runId: this._runId,
      hasEnded: this._isSealed,
      pinnedKeys: rememberedKeys()?.keys ?? null,
      pin: rememberedRun(this._runId),
    });
  }

  /** End a check; what it found so far is not told, because it says nothing yet. */
  stop() {
    this._end();
    this._show([
      verdict(
        "open",
        "hex-open",
        "Not checked in this browser",
        "The check was stopped before its end, so it says nothing.",
      ),
    ]);
    this._act("Verify in this browser", () => this.check());
    this._tell("unchecked");
  }

  /** Take in what the server says of the proof since the run has ended. */
  async runEnded() {
    if (this._isSealed) return;
    const answer = await fetch(`/workspace-runs/${this._runId}/proof`, { credentials: "same-origin" }).catch(
      () => null,
    );
    if (!answer?.ok) return; // the panel stays as it is, and a check reads anew anyway
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (this._worker) return;
    this._isSealed = true;
    this._section.dataset.sealed = "true";
    this._section.replaceChildren(...document.adoptNode(page.body).childNodes);
    writeTimes(this._section);
    await this._begin();
  }

  async _begin() {
    this._obstacle = await obstacle();
    if (this._obstacle === null) {
      this._act(
        this._isSealed ? "Verify in this browser" : "Check what is recorded so far",
        () => this.check(),
        "btn btn--main",
      );
      return;
    }
    const text = `${this._obstacle} The commands below check the same bundle anywhere.`;
    this._show([verdict("open", "warn", "Cannot be checked in this browser", text)]);
  }

  /** @param {any} message */
  _hear(message) {
    if (message.kind === "progress") this._showChecking(message);
    else if (message.kind === "unfinished") this._unfinished(message.reason);
    else this._finished(message.report);
  }

  /** @param {string} reason */
  _unfinished(reason) {
    this._end();
    this._show([
      verdict(
        "open",
        "warn",
        "The check could not finish",
        `Reading stopped: ${reason}. This says nothing about the record.`,
      ),
    ]);
    this._act("Check again", () => this.check(), "btn");
    this._tell("unfinished");
    say("The check could not finish.");
  }

  /** @param {Report} report */
  _finished(report) {
    this._end();
    const failure = failureOf(report);
    const state = stateOf(report, failure);
    const checked = checkedLine(report);
    if (failure) {
      this._show([...failedView(report, failure, checked), ...this._memory(report)]);
    } else {
      this._show([...heldView(report, state, checked), ...this._memory(report)]);
      rememberRun(this._runId, report);
    }
    this._act("Check again", () => this.check(), "btn btn--quiet", "redo");
    const bundle = this._section.querySelector("[data-proof-acts] a");
    bundle?.classList.toggle("btn--main", failure !== null);
    const limits = this._section.querySelector("[data-proof-limits]");
    if (limits instanceof HTMLElement) limits.hidden = failure !== null;
    this._reveal();
    this._tell(state, failure, report);
    say(failure ? `${failure.title}.` : `${heldWords(report, state)[0]}.`);
  }

  /** What this browser remembers, and what to do where that differs. @param {Report} report */
  _memory(report) {
    const known = rememberedKeys();
    const isKept = this._remember(report, known);
    const acts = {
      trust: () => this._trust(report),
      forget: () => {
        forgetRun(this._runId);
        this.check();
      },
    };
    return memoryNotices(report, known, isKept, acts);
  }

  /** Keys are remembered when they are first seen in a record that holds, and when an older one vouches for them. @param {Report} report @param {import("./pins.js").Remembered | null} known */
  _remember(report, known) {
    if (report.code !== null || report.strangers.length) return known !== null;
    const now = new Date().toISOString();
    if (known === null)
      return rememberKeys(
        report.signers.map(({ text }) => text),
        report.witnesses,
        now,
      );
    const added = report.vouchedFor.map(({ text }) => text);
    return rememberKeys(
      [...known.keys, ...added],
      known.witnesses.length ? known.witnesses : report.witnesses,
      known.since,
    );
  }

  /** The reader takes the keys and witnesses of now for right. @param {Report} report */
  _trust(report) {
    rememberKeys(
      report.signers.map(({ text }) => text),
      report.witnesses,
      new Date().toISOString(),
    );
    this.check();
  }

  /** @param {{done: number, signed: number, bytes: number, bytesTotal: number, losses: number}} progress */
  _showChecking({ done, signed, bytes, bytesTotal, losses }) {
    const title = signed ? `Checking event ${counted(done)} of ${counted(signed)}` : "Checking";
    const read = bytesTotal ? `${sizeText(bytes)} of ${sizeText(bytesTotal)} read.` : "The server is gathering the record.";
    const shown = {
      size: signed,
      done,
      bad: [],
      sealSeq: null,
      label: `${counted(done)} of ${counted(signed)} events checked`,
    };
    const head = verdict("open", "run", title, `${read} Nothing leaves this browser.${lossesText(losses)}`);
    head.querySelector("svg")?.classList.add("spin", "st--run");
    this._show([head, ruler(shown)]);
    if (!this._worker) this._act("Stop", () => this.stop(), "btn btn--quiet");
  }

  _end() {
    this._worker?.terminate();
    this._worker = null;
  }

  /** @param {Node[]} nodes */
  _show(nodes) {
    this._section.querySelector("[data-proof-now]")?.replaceChildren(...nodes);
  }

  /** What was asked for is to be seen, wherever the reader was in the panel. */
  _reveal() {
    this._section.querySelector(".verdict")?.scrollIntoView({ block: "nearest" });
  }

  /** The one button that checks, checks again or stops. @param {string} text @param {() => void} act @param {string} [className] @param {string} [glyph] */
  _act(text, act, className = "btn btn--main", glyph) {
    const place = this._section.querySelector("[data-proof-acts]");
    const old = place?.querySelector("[data-proof-check]");
    const button = element("button", { type: "button", class: className, "data-proof-check": true });
    button.append(...(glyph ? [icon(glyph)] : []), text);
    button.addEventListener("click", act);
    const hadFocus = old !== null && old === document.activeElement;
    if (old) old.replaceWith(button);
    else place?.prepend(button);
    if (hadFocus) button.focus();
  }

  /** Tell the page. @param {string} state @param {import("./words.js").Failure | null} [failure] @param {Report} [report] */
  _tell(state, failure = null, report) {
    this._section.dataset.state = state;
    const { seq = null, code = null } = failure ?? {};
    const changed = report?.changed ?? [];
    const badSeqs = changed.length || seq === null ? changed : [seq];
    this._section.dispatchEvent(
      new CustomEvent("proof-state", { bubbles: true, detail: { state, seq, code, badSeqs } }),
    );
  }
}

/** @param {number} losses */
const lossesText = (losses) =>
  losses ? ` The connection was lost ${losses === 1 ? "once" : `${counted(losses)} times`}, and reading goes on.` : "";

/** @param {Report} report */
function checkedLine({ tookMs, bytesRead, losses }) {
  return element(
    "span",
    {},
    "Checked in this browser ",
    timeElement(new Date().toISOString()),
    `, ${(tookMs / 1000).toFixed(2)} s, ${sizeText(bytesRead)} read${losses ? `, over ${counted(losses)} lost ${losses === 1 ? "connection" : "connections"}` : ""}.`,
  );
}
