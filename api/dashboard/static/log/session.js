// Owns the page's side of a run that is read in a worker: its events, and questions with promised answers.

import { QUESTIONS_WAITING_MAX } from "./limits.js";

/**
 * Open a run; reading begins at once.
 * @param {string} runId
 * @param {{afterSeq?: number, isHeld?: boolean}} [options] events up to `afterSeq` are left out; a session that is
 *   held tells nothing before `begin`
 * @returns {RunSession}
 */
export function openRun(runId, { afterSeq = 0, isHeld = false } = {}) {
  return new RunSession(runId, afterSeq, isHeld);
}

/**
 * One run. Events, each a CustomEvent:
 * - `facts` {events}: what is no output, as it came, in order
 * - `grown` {seq, time (ms since epoch), rows, lines, bytes, stdoutLines, stderrLines, stdoutBytes, stderrBytes,
 *   changedFrom: the first row that may look different now}
 * - `connection` {state: "replaying"|"following"|"lost"|"hidden"|"ended", seq, retryInS}
 * - `found` {hits, isDone, isCapped, rows}: how far the search is
 * - `stopped` {status, code, message}: the server refuses, nothing more will come
 */
export class RunSession extends EventTarget {
  /**
   * @param {string} runId
   * @param {number} afterSeq
   * @param {boolean} isHeld
   */
  constructor(runId, afterSeq, isHeld) {
    super();
    this.runId = runId;
    /** @type {[string, any][]|null} what is told when somebody listens; null: they do */
    this.held = isHeld ? [] : null;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.asked = 0;
    /** The last `grown` and `connection`, for those who come later. */
    this.grown = null;
    this.connection = { state: "replaying", seq: afterSeq, retryInS: 0 };
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.addEventListener("message", ({ data }) => this.hear(data));
    this.worker.addEventListener("error", (event) => this.break(event));
    this.onVisibility = () => this.worker.postMessage({ isVisible: !document.hidden });
    document.addEventListener("visibilitychange", this.onVisibility);
    addEventListener("online", this.onVisibility);
    this.worker.postMessage({ open: { runId, afterSeq, isVisible: !document.hidden } });
  }

  /** End the worker and its connection. */
  close() {
    document.removeEventListener("visibilitychange", this.onVisibility);
    removeEventListener("online", this.onVisibility);
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) reject(new Error("The log was closed."));
    this.waiting.clear();
  }

  /** Tell what was held back, and from now on everything as it comes. */
  begin() {
    const told = this.held ?? [];
    this.held = null;
    for (const [name, detail] of told) this.tell(name, detail);
  }

  hear(data) {
    if (data.tell !== undefined) {
      this.tell(data.tell, data.detail);
      return;
    }
    const question = this.waiting.get(data.answer);
    this.waiting.delete(data.answer);
    if (data.error === undefined) question?.resolve(data.value);
    else question?.reject(new Error(data.error));
  }

  break(event) {
    const message = `The log's worker stopped: ${event.message ?? "it could not be loaded"}. Load the page again.`;
    this.tell("stopped", { status: 0, code: "worker_failed", message });
  }

  tell(name, detail) {
    if (this.held !== null) {
      this.held.push([name, detail]);
      return;
    }
    if (name === "grown") this.grown = detail;
    if (name === "connection") this.connection = detail;
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @returns {Promise<any>} */
  ask(what, args) {
    if (this.waiting.size >= QUESTIONS_WAITING_MAX) return Promise.reject(new Error("Too many questions wait."));
    this.asked += 1;
    const ask = this.asked;
    this.worker.postMessage({ ask, what, args });
    return new Promise((resolve, reject) => this.waiting.set(ask, { resolve, reject }));
  }

  /**
   * Lines by number, from 1, without `to`; at most ROWS_ASKED_MAX at once.
   * @returns {Promise<import("./lines.js").Row[]>}
   */
  lines(from, to) {
    return this.ask("lines", { from, to });
  }

  /** Seen rows by place, from 0, without `to`. */
  rows(from, to, lens) {
    return this.ask("rows", { from, to, lens });
  }

  /** How many rows are seen. */
  count(lens) {
    return this.ask("count", { lens });
  }

  /**
   * Where a line, an event or a row is among what is seen.
   * @param {{line?: number, seq?: number, row?: number, lens: import("./lines.js").Lens}} what
   */
  place(what) {
    return this.ask("place", what);
  }

  /** Begin a search; `found` tells how it goes. An empty text ends it. */
  search(text, streams = { stdout: true, stderr: true }) {
    return this.ask("search", { text, streams });
  }

  /** @returns {Promise<{row: number, nth: number}>} the hit with this number, from 0 */
  hit(index) {
    return this.ask("hit", { index });
  }

  /** The number of the first hit at or behind a row. */
  hitAfter(row) {
    return this.ask("hitAfter", { row });
  }

  /** Bytes of both streams in `buckets` equal stretches of time: {from, to, seqs, stdout, stderr}. */
  histogram(buckets) {
    return this.ask("histogram", { buckets });
  }

  /**
   * What was there at an event or a time (ms since epoch).
   * @param {{seq?: number, time?: number}} where
   * @returns {Promise<import("./moments.js").Position>}
   */
  positionAt(where) {
    return this.ask("positionAt", where);
  }

  /** The text of what is seen, bounded: {text, lines, isWhole}. */
  text(lens) {
    return this.ask("text", { lens });
  }

  /** The row that most likely says what failed, -1 for none. */
  failure() {
    return this.ask("failure", {});
  }
}
