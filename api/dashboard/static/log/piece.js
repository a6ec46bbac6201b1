// Owns looking through many lines at once: a piece of the log is read as one text before its lines are.

import { SEARCH_PIECE_BYTES } from "./limits.js";
import { FACT, STDERR, STDOUT } from "./lines.js";
import { paint, textOf } from "./paint.js";
import { HAS_MORE, HAS_STYLE } from "./scan.js";

const STYLES = /\u001b\[[0-9;:?<=>]*m/g;
const ROWS_MAX = 8_192;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The text of a row as it is shown, whole. */
export function plainText(lines, row) {
  const stream = lines.streamOf(row);
  if (stream === FACT) return "";
  const bytes = lines.bytes[stream].slice(lines.starts.values[row], lines.endOf(row));
  if (isOdd(lines, row)) return textOf(paint(bytes, 0));
  const text = decoder.decode(bytes);
  return lines.kinds.values[row] & HAS_STYLE ? text.replace(STYLES, "") : text;
}

/** Whether a row holds more than text and styles, so that its bytes are not its text. */
function isOdd(lines, row) {
  return (lines.kinds.values[row] & HAS_MORE) !== 0 || lines.openRows.includes(row);
}

/** Rows from `from`, so many that looking at them takes a moment. */
export class Piece {
  /**
   * @param {import("./lines.js").Lines} lines
   * @param {number} from
   */
  constructor(lines, from) {
    this.lines = lines;
    this.from = from;
    this.to = from;
    const last = Math.min(lines.length, from + ROWS_MAX);
    for (let bytes = 0; this.to < last && bytes < SEARCH_PIECE_BYTES; this.to += 1) {
      if (lines.streamOf(this.to) !== FACT) bytes += lines.endOf(this.to) - lines.starts.values[this.to];
    }
  }

  /**
   * The rows that may hold what is looked for.
   * @param {(text: string) => boolean} mayHold asked for the text of many lines
   * @param {(stream: number) => boolean} isWanted
   */
  candidates(mayHold, isWanted) {
    const isWorth = [STDOUT, STDERR].map((stream) => isWanted(stream) && mayHold(this.text(stream)));
    const rows = [];
    for (let row = this.from; row < this.to; row += 1) {
      const stream = this.lines.streamOf(row);
      if (stream === FACT || !isWanted(stream)) continue;
      if (isWorth[stream] || isOdd(this.lines, row)) rows.push(row);
    }
    return rows;
  }

  /** The rows of one stream lie side by side. */
  text(stream) {
    const { lines } = this;
    let start = -1;
    let end = -1;
    for (let row = this.from; row < this.to; row += 1) {
      if (lines.streamOf(row) !== stream) continue;
      if (start < 0) start = lines.starts.values[row];
      end = Math.max(end, lines.endOf(row));
    }
    return start < 0 ? "" : decoder.decode(lines.bytes[stream].slice(start, end)).replace(STYLES, "");
  }
}
