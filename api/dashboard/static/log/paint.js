// Owns how the bytes of one line become what is shown: styled text, and labels for what is not text.

import { PLAIN, styled } from "./style.js";

/**
 * A piece of a line. `label` is set for bytes that are no text: `text` then names them.
 * @typedef {{text: string, style: number, label: boolean}} Span
 */

const NAMES = [
  "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI",
  "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
];
/** Controls, and the marks that reorder or break text: they could make a line look like another one. */
const SPECIAL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const CSI = /\u001b\[([0-9;:?<=>]*)([ -/]*)([@-~])/y;
const CHARSET = /\u001b[()][A-Z0-9]/y;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/**
 * @param {Uint8Array} bytes one line without its LF
 * @param {number} style what the escapes before this line left
 * @returns {Span[]}
 */
export function paint(bytes, style) {
  const text = decoder.decode(bytes);
  if (text.includes("\ufffd")) return withBadBytes(bytes, style);
  if (!SPECIAL.test(text)) return text === "" ? [] : [{ text, style, label: false }];
  return new Canvas(style).write(text).spans();
}

/**
 * The text of a line as search and copy take it: without labels.
 * @param {Span[]} spans
 */
export function textOf(spans) {
  let text = "";
  for (const span of spans) if (!span.label) text += span.text;
  return text;
}

/** A line that a command may rewrite: cells with a cursor, as far as one line of a terminal goes. */
class Canvas {
  /** @param {number} style */
  constructor(style) {
    this.style = style;
    /** @type {Span[]} one for each character */
    this.cells = [];
    this.cursor = 0;
  }

  /** @param {string} text */
  write(text) {
    let at = 0;
    while (at < text.length) {
      if (text[at] === "\u001b") at = this.escape(text, at);
      else if (text[at] === "\r") [at, this.cursor] = [at + 1, 0];
      else if (text[at] === "\b") [at, this.cursor] = [at + 1, Math.max(0, this.cursor - 1)];
      else at = this.character(text, at);
    }
    return this;
  }

  character(text, at) {
    const point = /** @type {number} */ (text.codePointAt(at));
    const character = String.fromCodePoint(point);
    if (SPECIAL.test(character)) this.put({ text: nameOf(point), style: PLAIN, label: true });
    else this.put({ text: character, style: this.style, label: false });
    return at + character.length;
  }

  put(cell) {
    while (this.cells.length < this.cursor) this.cells.push({ text: " ", style: PLAIN, label: false });
    this.cells[this.cursor] = cell;
    this.cursor += 1;
  }

  /** Styles are applied, moves inside the line too; every other escape is shown by its name. */
  escape(text, at) {
    CSI.lastIndex = at;
    const found = CSI.exec(text);
    if (found && found[2] === "" && this.obey(found[1], found[3])) return CSI.lastIndex;
    CHARSET.lastIndex = at;
    if (CHARSET.test(text)) return CHARSET.lastIndex;
    this.put({ text: "ESC", style: PLAIN, label: true });
    return at + 1;
  }

  obey(parameters, final) {
    const count = Math.min(Number(parameters) || 1, 4096);
    if (final === "m") this.style = styled(this.style, parameters);
    else if (final === "K") this.erase(parameters || "0");
    else if (final === "G") this.cursor = count - 1;
    else if (final === "C") this.cursor += count;
    else if (final === "D") this.cursor = Math.max(0, this.cursor - count);
    else return parameters === "?25" && (final === "h" || final === "l"); // the cursor shown or hidden
    return true;
  }

  erase(which) {
    if (which === "0") this.cells.length = Math.min(this.cells.length, this.cursor);
    else if (which === "2") this.cells.length = 0;
    else for (let at = 0; at < Math.min(this.cursor + 1, this.cells.length); at += 1) this.cells[at] = blank();
  }

  spans() {
    /** @type {Span[]} */
    const joined = [];
    for (const cell of this.cells) {
      const last = joined[joined.length - 1];
      if (last && !last.label && !cell.label && last.style === cell.style) last.text += cell.text;
      else joined.push({ ...cell });
    }
    return joined;
  }
}

function blank() {
  return { text: " ", style: PLAIN, label: false };
}

function nameOf(point) {
  if (point < 32) return NAMES[point];
  if (point === 127) return "DEL";
  return `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A line with bytes that are not UTF-8: they are shown as what they are, `FF FE`. */
function withBadBytes(bytes, style) {
  /** @type {Span[]} */
  const spans = [];
  let now = style;
  for (const [isText, piece] of utf8Pieces(bytes)) {
    if (!isText) {
      const text = Array.from(piece, (byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
      spans.push({ text, style: PLAIN, label: true });
      continue;
    }
    const canvas = new Canvas(now).write(strict.decode(piece));
    spans.push(...canvas.spans());
    now = canvas.style;
  }
  return spans;
}

/** Runs of whole code points and runs of other bytes, in order. */
function utf8Pieces(bytes) {
  /** @type {[boolean, Uint8Array][]} */
  const pieces = [];
  let start = 0;
  let wasText = true;
  let at = 0;
  const cut = (isText) => {
    if (isText !== wasText && at > start) {
      pieces.push([wasText, bytes.subarray(start, at)]);
      start = at;
    }
    wasText = isText;
  };
  while (at < bytes.length) {
    const length = codePointLength(bytes, at);
    cut(length > 0);
    at += length || 1;
  }
  if (at > start) pieces.push([wasText, bytes.subarray(start, at)]);
  return pieces;
}

/** Bytes of the code point that starts at `at`, 0 where none does (RFC 3629 §3). */
function codePointLength(bytes, at) {
  const first = bytes[at];
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  try {
    if (first < 0xc2 || first > 0xf4 || at + length > bytes.length) return 0;
    strict.decode(bytes.subarray(at, at + length));
    return length;
  } catch {
    return 0;
  }
}
