// Owns the worker's side of a run: it reads the events, keeps the lines, and answers what the page asks.

import { Feed } from "./feed.js";
import { Views } from "./lens.js";
import { GROWN_EVERY_MS, GROWN_EVERY_MS_IN_HISTORY, ROWS_ASKED_MAX } from "./limits.js";
import { Lines } from "./lines.js";
import { failureRow, textToCopy } from "./pick.js";
import { Search } from "./search.js";

const FACT_TYPES_OF_OUTPUT = new Set(["stdout", "stderr"]);

/** One run in this worker. */
class Run {
  constructor({ runId, afterSeq }) {
    this.lines = new Lines();
    this.views = new Views(this.lines);
    this.search = new Search(this.lines);
    /** @type {any[]} */
    this.facts = [];
    this.changedFrom = 0;
    this.toldAt = -Infinity;
    this.hasToldLines = false;
    this.timer = 0;
    this.isSearching = false;
    this.isInHistory = true;
    this.feed = new Feed(runId, afterSeq, {
      take: (events) => this.take(events),
      turn: (state, retryInS) => this.turn(state, retryInS),
      stop: (reason) => this.tell("stopped", reason),
    });
  }

  take(events) {
    this.changedFrom = Math.min(this.changedFrom, this.lines.settled);
    for (const event of events) {
      this.lines.add(event);
      if (!FACT_TYPES_OF_OUTPUT.has(event.type)) this.facts.push(event);
    }
    const isFirst = !this.hasToldLines && this.lines.hasLines; // somebody waits for it
    const everyMs = this.isInHistory ? GROWN_EVERY_MS_IN_HISTORY : GROWN_EVERY_MS;
    if (isFirst || performance.now() - this.toldAt >= everyMs) this.tellGrowth();
    else if (this.timer === 0) this.timer = setTimeout(() => this.tellGrowth(), everyMs);
  }

  turn(state, retryInS) {
    this.isInHistory = state === "replaying";
    this.tellGrowth();
    this.tell("connection", { state, seq: this.feed.seq, retryInS });
  }

  tellGrowth() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.lines.moments.length === 0) return;
    this.toldAt = performance.now();
    this.hasToldLines = this.lines.hasLines;
    const position = this.lines.moments.at(this.lines.moments.length - 1);
    const bytes = position.stdoutBytes + position.stderrBytes;
    this.tell("grown", { ...position, bytes, changedFrom: this.changedFrom });
    if (this.facts.length > 0) this.tell("facts", { events: this.facts });
    this.facts = [];
    this.search.changed(this.changedFrom);
    this.changedFrom = this.lines.settled;
    void this.searchOn();
  }

  /** @param {string} what */
  tell(what, detail) {
    postMessage({ tell: what, detail });
  }

  async searchOn() {
    if (this.isSearching || this.search.isDone) return;
    this.isSearching = true;
    await this.search.goOn(() => this.tell("found", this.search.state));
    this.isSearching = false;
    await this.searchOn();
  }

  /** Questions of the page, by name; what they answer must be cloneable. */
  answers = {
    rows: ({ from, to, lens }) => {
      const last = Math.min(to, from + ROWS_ASKED_MAX);
      return { from, rows: this.views.shown(from, last, lens), count: this.views.count(lens) };
    },
    count: ({ lens }) => this.views.count(lens),
    lines: ({ from, to }) => {
      const lens = { stdout: true, stderr: true, asOf: null };
      const last = Math.min(to, from + ROWS_ASKED_MAX, this.lines.counts[0] + this.lines.counts[1] + 1);
      const rows = [];
      for (let line = Math.max(1, from); line < last; line += 1) {
        rows.push(this.lines.shown(this.lines.rowOfLine(line), lens, -1));
      }
      return rows;
    },
    place: ({ line, seq, row, lens }) => {
      const at = line === undefined ? (seq === undefined ? row : this.lines.rowOfSeq(seq)) : this.lines.rowOfLine(line);
      const isThere = at >= 0 && at < this.lines.length;
      const isSeen = this.views.has(at, lens);
      return { row: at, index: this.views.indexOf(at, lens), isThere, isSeen, line: isThere ? this.lines.lineOf(at) : 0 };
    },
    search: async ({ text, streams }) => {
      this.search.begin(text, streams);
      this.tell("found", this.search.state);
      void this.searchOn();
      return this.search.state;
    },
    hit: ({ index }) => ({ row: this.search.rows.values[index], nth: this.search.nths.values[index] }),
    hitAfter: ({ row }) => (row <= 0 ? 0 : this.search.rows.countUpTo(row - 1)),
    histogram: ({ buckets }) => this.lines.moments.histogram(buckets),
    positionAt: (where) => this.lines.moments.position(where),
    text: ({ lens }) => textToCopy(this.lines, this.views, lens),
    failure: () => failureRow(this.lines),
  };
}

/** @type {Run|null} */
let run = null;

addEventListener("message", async ({ data }) => {
  if (data.open) {
    run = new Run(data.open);
    run.feed.show(data.open.isVisible);
    await run.feed.run();
    return;
  }
  if (run === null) return;
  if (data.isVisible !== undefined) run.feed.show(data.isVisible);
  if (data.ask === undefined) return;
  try {
    postMessage({ answer: data.ask, value: await run.answers[data.what](data.args) });
  } catch (error) {
    postMessage({ answer: data.ask, error: String(error) });
  }
});
