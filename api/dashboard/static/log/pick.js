// Owns what is taken out of the log at once: its text to copy, and the line where it went wrong.

import { COPY_BYTES_MAX, SLICE_MS } from "./limits.js";
import { FACT, STDERR } from "./lines.js";
import { plainText } from "./search.js";
import { breathe } from "./waiting.js";

/** How the usual tools begin the line that says what failed. */
const FAILURE = new RegExp(
  [
    "^\\s*(FAIL(ED|URE)?\\b|[✗×✘✖❌]|not ok\\b|E {2,}\\S|Traceback \\(most recent|panic: |thread '.*' panicked|",
    "fatal(:| error)|error(\\[\\w+\\])?: |ERROR:? |\\w*(Error|Exception): |AssertionError|--- FAIL|",
    "\\S+:\\d+(:\\d+)?: (fatal )?error: |make(\\[\\d+\\])?: \\*\\*\\*)",
  ].join(""),
);
const FAILURE_CHARS_MAX = 400;

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
  let stretch = -1;
  let breathedAt = performance.now();
  const upTo = lines.length;
  for (let row = 0; row < upTo; row += 1) {
    const stream = lines.streamOf(row);
    if (stream === FACT) continue;
    if (stream === STDERR && (row === 0 || lines.streamOf(row - 1) !== STDERR)) stretch = row;
    if (FAILURE.test(plainText(lines, row).slice(0, FAILURE_CHARS_MAX))) return row;
    if (performance.now() - breathedAt > SLICE_MS) {
      await breathe();
      breathedAt = performance.now();
    }
  }
  return stretch;
}
