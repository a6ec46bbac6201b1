// Owns finding text in the log: line by line in the worker, in slices, while more lines arrive.

import { Column } from "./bytes.js";
import { folded } from "./fold.js";
import { SEARCH_CHARS_MAX, SEARCH_HITS_MAX, SLICE_MS } from "./limits.js";
import { Piece, plainText } from "./piece.js";
import { breathe } from "./waiting.js";

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
    const piece = new Piece(this.lines, this.upTo);
    const isIn = (text) => folded(text).includes(this.needle);
    for (const row of piece.candidates(isIn, (stream) => this.wanted[stream])) {
      if (!this.isCapped) this.searchRow(row);
    }
    this.upTo = piece.to;
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
