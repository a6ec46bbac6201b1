// Owns finding text in the log: line by line in the worker, in slices, while more lines arrive.

import { Column } from "./bytes.js";
import { folded } from "./fold.js";
import { SEARCH_CHARS_MAX, SEARCH_HITS_MAX, SEARCH_PIECE_BYTES, SLICE_MS } from "./limits.js";
import { FACT, STDERR, STDOUT } from "./lines.js";
import { paint, textOf } from "./paint.js";
import { HAS_MORE, HAS_STYLE } from "./scan.js";
import { breathe } from "./waiting.js";

const STYLES = /\u001b\[[0-9;:?<=>]*m/g;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const PIECE_ROWS_MAX = 8_192;

/** The text of a row as it is shown, whole. */
export function plainText(lines, row) {
  const stream = lines.streamOf(row);
  if (stream === FACT) return "";
  const bytes = lines.bytes[stream].slice(lines.starts.values[row], lines.endOf(row));
  const kind = lines.kinds.values[row];
  const isOpen = lines.openRows[stream] === row;
  if (kind & HAS_MORE || isOpen) return textOf(paint(bytes, 0));
  const text = decoder.decode(bytes);
  return kind & HAS_STYLE ? text.replace(STYLES, "") : text;
}

/** One search at a time; a hit is a row and how many hits of that row come before it. */
export class Search {
  /** @param {import("./lines.js").Lines} lines */
  constructor(lines) {
    this.lines = lines;
    this.begin("", { stdout: true, stderr: true });
  }

  /**
   * @param {string} text
   * @param {{stdout: boolean, stderr: boolean}} streams
   */
  begin(text, streams) {
    this.needle = folded(text.slice(0, SEARCH_CHARS_MAX));
    this.wanted = [streams.stdout, streams.stderr];
    this.rows = new Column(Uint32Array);
    this.nths = new Column(Uint32Array);
    this.upTo = 0;
    this.isCapped = false;
    this.turn = {}; // another search may begin while this one breathes
  }

  /** Rows from here on may have changed. */
  changed(row) {
    this.upTo = Math.min(this.upTo, row);
    const kept = row === 0 ? 0 : this.rows.countUpTo(row - 1);
    this.rows.length = kept;
    this.nths.length = kept;
  }

  get isDone() {
    return this.needle === "" || this.isCapped || this.upTo >= this.lines.length;
  }

  get state() {
    return { hits: this.rows.length, isDone: this.isDone, isCapped: this.isCapped, rows: this.upTo };
  }

  /**
   * Search on until everything that is there was looked at.
   * @param {() => void} told called after every slice
   * @returns {Promise<boolean>} false when another search took its place
   */
  async goOn(told) {
    const turn = this.turn;
    let breathedAt = performance.now();
    while (!this.isDone) {
      this.searchPiece();
      if (performance.now() - breathedAt < SLICE_MS) continue;
      told();
      await breathe();
      if (turn !== this.turn) return false;
      breathedAt = performance.now();
    }
    told();
    return true;
  }

  searchPiece() {
    const from = this.upTo;
    const to = this.pieceEnd(from);
    const streams = [STDOUT, STDERR].filter((stream) => this.wanted[stream]);
    const worth = streams.filter((stream) => this.mayBeIn(stream, from, to));
    for (let row = from; row < to && !this.isCapped; row += 1) {
      const stream = this.lines.streamOf(row);
      const isWorth = stream !== FACT && this.wanted[stream];
      if (isWorth && (worth.includes(stream) || this.isOdd(row))) this.searchRow(row);
    }
    this.upTo = to;
  }

  pieceEnd(from) {
    let bytes = 0;
    let row = from;
    const last = Math.min(this.lines.length, from + PIECE_ROWS_MAX);
    while (row < last && bytes < SEARCH_PIECE_BYTES) {
      if (this.lines.streamOf(row) !== FACT) bytes += this.lines.endOf(row) - this.lines.starts.values[row];
      row += 1;
    }
    return row;
  }

  isOdd(row) {
    return (this.lines.kinds.values[row] & HAS_MORE) !== 0 || this.lines.openRows.includes(row);
  }

  /** Whether the rows of one stream hold the text at all: they lie side by side, so one look tells. */
  mayBeIn(stream, from, to) {
    let [start, end] = [-1, -1];
    for (let row = from; row < to; row += 1) {
      if (this.lines.streamOf(row) !== stream) continue;
      if (start < 0) start = this.lines.starts.values[row];
      end = Math.max(end, this.lines.endOf(row));
    }
    if (start < 0) return false;
    const text = decoder.decode(this.lines.bytes[stream].slice(start, end)).replace(STYLES, "");
    return folded(text).includes(this.needle);
  }

  searchRow(row) {
    const text = folded(plainText(this.lines, row));
    let nth = 0;
    for (let at = text.indexOf(this.needle); at >= 0; at = text.indexOf(this.needle, at + this.needle.length)) {
      if (this.rows.length >= SEARCH_HITS_MAX) {
        this.isCapped = true;
        return;
      }
      this.rows.push(row);
      this.nths.push(nth);
      nth += 1;
    }
  }
}
