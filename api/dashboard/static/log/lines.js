// Owns the rows of the log: the lines of both streams and the facts between them, in order of arrival.

import { ByteLog, Column } from "./bytes.js";
import { LINES_MAX, LINE_BYTES_SHOWN_MAX, OUTPUT_BYTES_MAX } from "./limits.js";
import { Moments } from "./moments.js";
import { paint } from "./paint.js";
import { Scanner } from "./scan.js";

export const STDOUT = 0;
export const STDERR = 1;
export const FACT = 2;
const STREAM_MASK = 3;
/** The text of this row was removed from the record. */
const GONE = 4;
const encoder = new TextEncoder();
/** Facts that are counted elsewhere and would only be in the way between lines. */
const FACTS_WITHOUT_ROW = new Set(["archive_progress", "heartbeat", "outcome"]);

/**
 * A row as it is shown. `line` is 0 for a fact.
 * @typedef {object} Row
 * @property {number} row
 * @property {number} line
 * @property {"stdout"|"stderr"|"fact"} kind
 * @property {number} seq
 * @property {number} lastSeq the event that holds its last byte: a line may go on over several
 * @property {number} nextSeq the event with which the next row begins, 0 while there is none
 * @property {number} time ms since epoch
 * @property {import("./paint.js").Span[]} spans
 * @property {number} rewrites
 * @property {number} moreBytes bytes of the line that are not shown
 * @property {boolean} isGone
 * @property {boolean} isOpen whether the line may still grow
 * @property {boolean} isBlockStart whether it is the first of stderr in a row
 * @property {any} fact
 */

/** Which streams are seen, and up to where: `asOf` null means all that is there. */
/** @typedef {{stdout: boolean, stderr: boolean, asOf: import("./moments.js").Position|null}} Lens */

/** The log of one run. */
export class Lines {
  constructor() {
    this.starts = new Column(Uint32Array);
    this.lengths = new Column(Uint32Array);
    this.kinds = new Column(Uint8Array);
    this.styles = new Column(Uint32Array);
    this.events = new Column(Uint32Array);
    /** @type {Map<number, number>} how often a row was rewritten */
    this.rewrites = new Map();
    this.moments = new Moments();
    /** @type {any[]} */
    this.facts = [];
    this.factRows = new Column(Uint32Array, 64);
    this.linesBeforeFacts = new Column(Uint32Array, 64);
    this.counts = [0, 0];
    this.bytes = [new ByteLog(), new ByteLog()];
    this.openRows = [-1, -1];
    this.isFull = false;
    this.scanners = [STDOUT, STDERR].map((stream) => new Scanner({
      begin: (start, style) => this.begin(stream, start, style),
      end: (end, flags, rewrites) => this.end(stream, end, flags, rewrites),
    }));
  }

  get length() {
    return this.kinds.length;
  }

  get hasLines() {
    return this.counts[STDOUT] + this.counts[STDERR] > 0;
  }

  /** The first row that the next event may still change. */
  get settled() {
    const open = this.openRows.filter((row) => row >= 0);
    return Math.min(this.length, ...open);
  }

  /**
   * Take the next event of the run.
   * @param {any} event as it came over the wire
   */
  add(event) {
    const stream = event.type === "stdout" ? STDOUT : event.type === "stderr" ? STDERR : FACT;
    if (stream === FACT) this.addFact(event);
    else if (event.redacted === true) this.addGone(stream);
    else this.addOutput(stream, event);
    const [stdoutLines, stderrLines] = this.counts;
    const [stdoutBytes, stderrBytes] = this.bytes.map((log) => log.length);
    const time = Date.parse(event.createdAt) || 0;
    const lines = stdoutLines + stderrLines;
    const seq = event.seq;
    this.moments.push({ seq, time, rows: this.length, lines, stdoutLines, stderrLines, stdoutBytes, stderrBytes });
  }

  addOutput(stream, event) {
    if (this.isFull) return;
    const isRaw = typeof event.dataBase64 === "string";
    const text = String(event.data ?? "");
    const bytes = isRaw ? fromBase64(event.dataBase64) : encoder.encode(text);
    const total = this.bytes[STDOUT].length + this.bytes[STDERR].length + bytes.length;
    if (this.length >= LINES_MAX || total > OUTPUT_BYTES_MAX) {
      this.isFull = true;
      this.addFact({ type: "page_full", seq: event.seq, createdAt: event.createdAt });
      return;
    }
    this.bytes[stream].append(bytes);
    this.scanners[stream].feed(bytes, isRaw ? null : text);
  }

  addGone(stream) {
    this.scanners[stream].cut();
    this.push(stream | GONE, this.bytes[stream].length, 0);
    this.counts[stream] += 1;
  }

  addFact(event) {
    if (event.type === "terminal") for (const scanner of this.scanners) scanner.cut();
    this.facts.push(event);
    if (FACTS_WITHOUT_ROW.has(event.type)) return;
    this.factRows.push(this.length);
    this.linesBeforeFacts.push(this.counts[STDOUT] + this.counts[STDERR]);
    this.push(FACT, this.facts.length - 1, 0);
  }

  push(kind, start, style) {
    this.starts.push(start);
    this.lengths.push(0);
    this.kinds.push(kind);
    this.styles.push(style);
    this.events.push(this.moments.length);
  }

  begin(stream, start, style) {
    this.openRows[stream] = this.length;
    this.counts[stream] += 1;
    this.push(stream, start, style);
  }

  end(stream, end, flags, rewrites) {
    const row = this.openRows[stream];
    this.openRows[stream] = -1;
    this.lengths.values[row] = end - this.starts.values[row];
    this.kinds.values[row] |= flags;
    if (rewrites > 0) this.rewrites.set(row, rewrites);
  }

  streamOf(row) {
    return this.kinds.values[row] & STREAM_MASK;
  }

  /** Where the bytes of a line end; those of an open one may grow, and `asOf` may lie before its end. */
  endOf(row, asOf = null) {
    const stream = this.streamOf(row);
    const start = this.starts.values[row];
    const isOpen = this.openRows[stream] === row;
    const end = isOpen ? this.bytes[stream].length - this.scanners[stream].crs : start + this.lengths.values[row];
    if (asOf === null) return end;
    return Math.max(start, Math.min(end, stream === STDOUT ? asOf.stdoutBytes : asOf.stderrBytes));
  }

  /** Line number of a row, from 1; of a fact the number of the line before it. */
  lineOf(row) {
    const factsUpTo = this.factRows.countUpTo(row);
    return row + 1 - factsUpTo;
  }

  /** The row of a line number. */
  rowOfLine(line) {
    return line - 1 + this.linesBeforeFacts.countUpTo(line - 1);
  }

  /**
   * The first row of an event, or of the next one that has rows.
   * @param {number} seq
   */
  rowOfSeq(seq) {
    const before = this.moments.seqs.countUpTo(seq - 1);
    return before === 0 ? 0 : this.moments.rows.values[before - 1];
  }

  /**
   * @param {number} row
   * @param {Lens} lens
   * @param {number} previous the row shown before it, -1 if none
   * @returns {Row}
   */
  shown(row, lens, previous) {
    const stream = this.streamOf(row);
    const event = this.events.values[row];
    const seq = this.moments.seqs.values[event];
    const nextSeq = row + 1 < this.length ? this.moments.seqs.values[this.events.values[row + 1]] : 0;
    const facts = { row, seq, lastSeq: seq, nextSeq, time: this.moments.times.values[event] };
    if (stream === FACT) {
      return { ...facts, line: 0, kind: "fact", spans: [], rewrites: 0, moreBytes: 0, isGone: false, isOpen: false,
        isBlockStart: false, fact: this.facts[this.starts.values[row]] };
    }
    const isOpen = this.openRows[stream] === row && lens.asOf === null;
    const [bytes, moreBytes] = this.bytesShown(row, lens);
    return {
      ...facts, lastSeq: Math.max(seq, this.lastSeqOf(row)), line: this.lineOf(row), kind: stream === STDOUT ? "stdout" : "stderr",
      spans: paint(bytes, this.styles.values[row]), rewrites: this.rewritesOf(row, isOpen), moreBytes,
      isGone: (this.kinds.values[row] & GONE) !== 0, isOpen,
      isBlockStart: stream === STDERR && (previous < 0 || this.streamOf(previous) !== STDERR), fact: null,
    };
  }

  /** The event that holds the last byte of a line. */
  lastSeqOf(row) {
    const { moments } = this;
    const bytes = this.streamOf(row) === STDOUT ? moments.stdoutBytes : moments.stderrBytes;
    return moments.seqs.values[Math.min(bytes.countUpTo(this.endOf(row) - 1), moments.length - 1)];
  }

  rewritesOf(row, isOpen) {
    const stream = this.streamOf(row);
    return isOpen ? this.scanners[stream].rewrites : this.rewrites.get(row) ?? 0;
  }

  /** What is read of a line, and how much is left out: of a line that rewrites itself its beginning. */
  bytesShown(row, lens) {
    const stream = this.streamOf(row);
    const start = this.starts.values[row];
    const end = this.endOf(row, lens.asOf);
    if (end - start <= LINE_BYTES_SHOWN_MAX) return [this.bytes[stream].slice(start, end), 0];
    const isRewritten = this.rewritesOf(row, this.openRows[stream] === row) > 0;
    if (isRewritten) {
      const tail = this.bytes[stream].slice(end - LINE_BYTES_SHOWN_MAX, end);
      const cr = tail.indexOf(13);
      if (cr >= 0) return [tail.subarray(cr), 0];
    }
    const head = this.bytes[stream].slice(start, start + LINE_BYTES_SHOWN_MAX);
    return [wholeCodePoints(head), end - start - LINE_BYTES_SHOWN_MAX];
  }
}

/** Without the beginning of a code point at the end. */
function wholeCodePoints(bytes) {
  let end = bytes.length;
  while (end > 0 && bytes.length - end < 4 && (bytes[end - 1] & 0xc0) === 0x80) end -= 1;
  return end > 0 && bytes[end - 1] >= 0xc0 ? bytes.subarray(0, end - 1) : bytes;
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
