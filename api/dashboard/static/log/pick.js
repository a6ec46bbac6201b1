// Owns what is taken out of the log at once: its text to copy, and the line where it went wrong.

import { COPY_BYTES_MAX, SLICE_MS } from "./limits.js";
import { FACT, STDERR } from "./lines.js";
import { Piece, plainText } from "./piece.js";
import { breathe } from "./waiting.js";

/** How the usual tools begin the line that says what failed. */
const FAILURE = new RegExp(
  [
    "^\\s*(FAIL(ED|URE)?\\b|[✗×✘✖❌]|not ok\\b|E {2,}\\S|Traceback \\(most recent|panic: |thread '.*' panicked|",
    "fatal(:| error)|error(\\[\\w+\\])?: |ERROR:? |\\w*(Error|Exception): |AssertionError|--- FAIL|",
    "\\S+:\\d+(:\\d+)?: (fatal )?error: |make(\\[\\d+\\])?: \\*\\*\\*)",
  ].join(""),
  "m",
);

/**
 * The text of the seen lines, from the end back as far as the limit goes.
 * @param {import("./lines.js").Lines} lines
 * @param {import("./lens.js").Views} views
 * @param {import("./lines.js").Lens} lens
 */
export async function textToCopy(lines, views, lens) {
  const parts = [];
  let bytes = 0;
  let index = views.count(lens) - 1;
  let breathedAt = performance.now();
  for (; index >= 0 && bytes < COPY_BYTES_MAX; index -= 1) {
    const row = views.rowAt(index, lens);
    if (lines.streamOf(row) === FACT) continue;
    const text = plainText(lines, row);
    const room = COPY_BYTES_MAX - bytes;
    if (text.length > room) {
      parts.push(text.slice(-room));
      break; // and with `index` not at the end, it is said that this is not all
    }
    parts.push(text);
    bytes += text.length + 1;
    if (performance.now() - breathedAt > SLICE_MS) {
      await breathe();
      breathedAt = performance.now();
    }
  }
  return { text: parts.reverse().join("\n") + (parts.length > 0 ? "\n" : ""), lines: parts.length, isWhole: index < 0 };
}

/**
 * The row that most likely says what failed: the first line that looks so, else where the last stretch of
 * stderr begins; -1 where there is neither.
 * @param {import("./lines.js").Lines} lines
 */
export async function failureRow(lines) {
  let breathedAt = performance.now();
  const looksSo = (text) => FAILURE.test(text);
  for (let piece = new Piece(lines, 0); piece.from < piece.to; piece = new Piece(lines, piece.to)) {
    for (const row of piece.candidates(looksSo, () => true)) {
      if (looksSo(plainText(lines, row))) return row;
    }
    if (performance.now() - breathedAt > SLICE_MS) {
      await breathe();
      breathedAt = performance.now();
    }
  }
  return lastStretchOfStderr(lines);
}

function lastStretchOfStderr(lines) {
  let row = lines.length - 1;
  while (row >= 0 && lines.streamOf(row) !== STDERR) row -= 1;
  while (row > 0 && lines.streamOf(row - 1) === STDERR) row -= 1;
  return row;
}
