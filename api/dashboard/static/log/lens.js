// Owns which rows are seen: all, or those of one stream, and in replay only what was there then.

import { Column } from "./bytes.js";
import { FACT, STDERR, STDOUT } from "./lines.js";

/** Rows by their place among the rows that are seen. */
export class Views {
  /** @param {import("./lines.js").Lines} lines */
  constructor(lines) {
    this.lines = lines;
    /** @type {Map<string, {rows: Column, upTo: number}>} */
    this.filtered = new Map();
  }

  /**
   * How many rows are seen.
   * @param {import("./lines.js").Lens} lens
   */
  count(lens) {
    const upTo = lens.asOf ? lens.asOf.rows : this.lines.length;
    return this.indexOf(upTo, lens);
  }

  /** The row at a place. */
  rowAt(index, lens) {
    return lens.stdout && lens.stderr ? index : this.rowsOf(lens).values[index];
  }

  /** How many seen rows lie before `row`; its place, if it is seen itself. */
  indexOf(row, lens) {
    return lens.stdout && lens.stderr ? row : this.rowsOf(lens).countUpTo(row - 1);
  }

  /** Whether a row is seen. */
  has(row, lens) {
    if (row < 0 || row >= (lens.asOf ? lens.asOf.rows : this.lines.length)) return false;
    return isSeen(this.lines.streamOf(row), lens);
  }

  /** @returns {import("./lines.js").Row[]} */
  shown(from, to, lens) {
    const rows = [];
    const last = Math.min(to, this.count(lens));
    for (let index = from; index < last; index += 1) {
      const previous = index > 0 ? this.rowAt(index - 1, lens) : -1;
      rows.push(this.lines.shown(this.rowAt(index, lens), lens, previous));
    }
    return rows;
  }

  rowsOf(lens) {
    const key = `${lens.stdout}-${lens.stderr}`;
    const view = this.filtered.get(key) ?? { rows: new Column(Uint32Array), upTo: 0 };
    this.filtered.set(key, view);
    for (; view.upTo < this.lines.length; view.upTo += 1) {
      if (isSeen(this.lines.streamOf(view.upTo), lens)) view.rows.push(view.upTo);
    }
    return view.rows;
  }
}

function isSeen(stream, lens) {
  return stream === FACT || (stream === STDOUT && lens.stdout) || (stream === STDERR && lens.stderr);
}
