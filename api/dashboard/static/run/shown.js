// What the page shows of the run beside log and proof: as it is, or as it was at an event.
import { say } from "../shell/dom.js";
import { signInAgain } from "../shell/session.js";
import { writeTimes } from "../shell/times.js";
import { Clocks } from "./clock.js";
import { become } from "./morph.js";

const PAGES_KEPT_MAX = 200;
/** Between two requests, so that a burst of facts is one. */
const PAUSE_MS = 150;
const RETRY_MS = 1000;
const FAILURES_MAX = 10;
/** The server verifies a run soon after its end: so often its word is asked for, and so long apart. */
const VERDICT_ASKED_MAX = 5;
const VERDICT_MS = 2000;

/**
 * The parts marked `data-live` are made by the server alone: this asks for the page again, now or with
 * `?seq=`, and puts its parts in place. Dispatches "shown" (detail {seq: number | null, isOver: boolean})
 * when they stand there.
 */
export class ShownRun extends EventTarget {
  /** @type {number[]} seqs of everything but output, in order */
  #facts = [];
  /** @type {Map<number, Document>} pages of the past by seq */
  #past = new Map();
  /** @type {number | null} the fact that is wanted on the page, null for now */
  #wanted = null;
  /** @type {number | null | undefined} undefined: what is there is no longer true */
  #present;
  #isAsking = false;
  #failures = 0;
  #verdictAsked = 0;

  /** @param {HTMLElement} root `#run` */
  constructor(root) {
    super();
    this.root = root;
    this.clocks = new Clocks();
    this.clocks.synchronise(Number(root.dataset.now));
    this.renderedSeq = Number(root.dataset.seq);
    this.#present = root.dataset.past === undefined ? null : undefined;
    this.#awaitVerdict(root);
  }

  get isOver() {
    return this.root.dataset.over === "true";
  }

  /**
   * Takes in facts as they come from the stream.
   * @param {{seq: number}[]} events
   */
  take(events) {
    for (const { seq } of events) this.#facts.push(seq);
    const last = this.#facts.at(-1) ?? 0;
    if (last <= this.renderedSeq) return;
    this.renderedSeq = last;
    if (this.#present === null) this.#present = undefined;
    if (this.#wanted === null) void this.#ask();
  }

  /** Shows the run as it is. */
  showNow() {
    this.#wanted = null;
    this.clocks.standAt(null);
    void this.#ask();
  }

  /**
   * Shows the run as it was at an event of it.
   * @param {{seq: number, time: number}} position time in ms since 1970
   */
  showAsOf({ seq, time }) {
    this.#wanted = factAt(this.#facts, seq);
    this.clocks.standAt(time);
    void this.#ask();
  }

  async #ask() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      while (this.#present !== this.#wanted) {
        const wanted = this.#wanted;
        const page = this.#past.get(wanted ?? 0) ?? (await fetchPage(wanted));
        if (page === null && (await this.#retry())) continue;
        if (page === null) return; // the next fact asks again
        this.#failures = 0;
        if (wanted !== null) this.#keep(wanted, page);
        if (wanted === this.#wanted) this.#put(page, wanted);
        if (wanted === null) await new Promise((resume) => setTimeout(resume, PAUSE_MS));
      }
    } finally {
      this.#isAsking = false;
    }
  }

  /** Waits longer each time the server does not answer; false when that was often enough. */
  async #retry() {
    if (this.#failures >= FAILURES_MAX) return false;
    this.#failures += 1;
    await new Promise((resume) => setTimeout(resume, this.#failures * RETRY_MS));
    return true;
  }

  /**
   * @param {Document} page
   * @param {number | null} seq
   */
  #put(page, seq) {
    const wasOver = this.isOver;
    const focused = document.activeElement;
    for (const part of document.querySelectorAll("[data-live]")) {
      const sent = page.getElementById(part.id);
      if (sent !== null) become(part, sent);
    }
    document.title = page.title;
    const root = /** @type {HTMLElement} */ (page.getElementById("run"));
    if (seq === null) {
      this.renderedSeq = Math.max(this.renderedSeq, Number(root.dataset.seq));
      this.root.dataset.over = root.dataset.over;
      this.clocks.synchronise(Number(root.dataset.now));
      this.#awaitVerdict(root);
    }
    this.#present = seq === null && (this.#facts.at(-1) ?? 0) > Number(root.dataset.seq) ? undefined : seq;
    writeTimes();
    this.clocks.write();
    if (focused !== null && !focused.isConnected) document.querySelector("#run-head .end summary")?.focus();
    if (seq === null && this.isOver && !wasOver) say(statusText());
    this.dispatchEvent(new CustomEvent("shown", { detail: { seq, isOver: this.isOver } }));
  }

  /**
   * Asks again where the run has ended and the server has not verified it yet.
   * @param {HTMLElement} root `#run` of the newest page
   */
  #awaitVerdict(root) {
    if (root.dataset.over !== "true" || root.dataset.checked === "true") return;
    if (this.#verdictAsked >= VERDICT_ASKED_MAX) return;
    this.#verdictAsked += 1;
    setTimeout(() => {
      if (this.#present !== null) return;
      this.#present = undefined;
      void this.#ask();
    }, VERDICT_MS);
  }

  /**
   * @param {number} seq
   * @param {Document} page
   */
  #keep(seq, page) {
    if (this.#past.size >= PAGES_KEPT_MAX) this.#past.delete(/** @type {number} */ (this.#past.keys().next().value));
    this.#past.set(seq, page);
  }
}

/**
 * The last fact at or before an event; the first one where the list does not reach that far.
 * @param {number[]} facts in order
 * @param {number} seq
 * @returns {number}
 */
export function factAt(facts, seq) {
  let [low, high] = [0, facts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (facts[middle] <= seq) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? 1 : facts[low - 1];
}

/**
 * @param {number | null} seq
 * @returns {Promise<Document | null>} null when the server does not answer
 */
async function fetchPage(seq) {
  const query = seq === null ? "" : `?seq=${seq}`;
  let answer;
  try {
    answer = await fetch(`${location.pathname}${query}`, { headers: { accept: "text/html" } });
  } catch {
    return null;
  }
  if (answer.redirected) signInAgain();
  if (!answer.ok || answer.redirected) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** @returns {string} */
function statusText() {
  return document.getElementById("run-status")?.textContent?.trim() ?? "";
}
