// Owns the JSON profile of events and its canonical bytes (PROOF P1.2): sorted ASCII keys, no floats,
// integers below 2^53, no lone surrogates, no key twice, U+0085, U+2028 and U+2029 escaped.
// @ts-check

import { FormatError, decodeUtf8 } from "./bytes.js";

/** @typedef {null | boolean | number | string | JsonValue[] | {[key: string]: JsonValue}} JsonValue */

export const NESTING_MAX = 64;
/** Levels that are read at all, so that no input can exhaust the stack. */
const READ_NESTING_MAX = 900;
const INTEGER_CHARS_MAX = "-9007199254740992".length;

const SEPARATORS = /[\u0085\u2028\u2029]/g;
// eslint-disable-next-line no-control-regex
const ASCII = /^[\x00-\x7f]*$/;

/** It is JSON, but outside the profile or not in its one spelling. */
export class ProfileError extends FormatError {}

/**
 * @param {JsonValue} value
 * @param {number} [depth]
 * @returns {string} The canonical text. Throws `ProfileError` for everything outside the profile.
 */
export function canonicalText(value, depth = 0) {
  if (typeof value === "string") return quoted(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new ProfileError("a number is no integer below 2^53");
    return String(value);
  }
  if (value === null || typeof value === "boolean") return String(value);
  if (depth >= NESTING_MAX) throw new ProfileError(`more than ${NESTING_MAX} levels of nesting`);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalText(item, depth + 1)).join(",")}]`;
  if (typeof value !== "object") throw new ProfileError(`${typeof value} is no value of JSON`);
  const members = Object.keys(value)
    .sort()
    .map((key) => `${quotedKey(key)}:${canonicalText(value[key], depth + 1)}`);
  return `{${members.join(",")}}`;
}

/** @param {string} text */
function quoted(text) {
  if (!text.isWellFormed()) throw new ProfileError("a string holds a lone surrogate: it has no UTF-8 form");
  return JSON.stringify(text).replace(SEPARATORS, escapedSeparator);
}

/** @param {string} key */
function quotedKey(key) {
  if (!ASCII.test(key)) throw new ProfileError("keys are ASCII strings");
  return JSON.stringify(key);
}

/** @param {string} character */
const escapedSeparator = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** @param {unknown} value @returns {value is {[key: string]: JsonValue}} */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * The object whose canonical bytes are exactly these.
 *
 * What the browser reads and writes back alike is accepted at once; whatever it does not, `parseJson`
 * names. Throws `FormatError` when it is no JSON object, `ProfileError` when the bytes are not canonical.
 * @param {Uint8Array} bytes @returns {{[key: string]: JsonValue}}
 */
export function decodeCanonical(bytes) {
  const text = decodeUtf8(bytes);
  const fast = readAtOnce(text);
  if (fast !== null) return fast;
  const value = parseText(text);
  const expected = canonicalText(value);
  if (!isObject(value)) throw new FormatError("not a JSON object");
  if (expected !== text) {
    throw new ProfileError("not the canonical bytes: keys are sorted, no spaces, one spelling for every value");
  }
  return value;
}

/** @param {string} text */
function readAtOnce(text) {
  try {
    const value = JSON.parse(text);
    return isObject(value) && canonicalText(value) === text ? value : null;
  } catch {
    return null;
  }
}

/**
 * Read JSON of the profile in any spelling, refusing all that is ambiguous.
 * @param {Uint8Array} bytes @returns {JsonValue} Throws `FormatError` and `ProfileError`.
 */
export function parseJson(bytes) {
  const value = parseText(decodeUtf8(bytes));
  canonicalText(value);
  return value;
}

/** @param {string} text */
function parseText(text) {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

const BLANK = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
// eslint-disable-next-line no-control-regex
const STRING = /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const FIXED = /true|false|null|NaN|-?Infinity/y;

/** Reads JSON left to right, naming what the browser's own reader lets pass: keys twice, floats. */
class Reader {
  /** @param {string} text */
  constructor(text) {
    this._text = text;
    this._at = 0;
  }

  /** @param {number} depth @returns {JsonValue} */
  value(depth) {
    if (depth > READ_NESTING_MAX) throw new ProfileError(`more than ${NESTING_MAX} levels of nesting`);
    this._take(BLANK);
    const first = this._text[this._at];
    if (first === "{") return this._object(depth);
    if (first === "[") return this._array(depth);
    if (first === '"') return this._string();
    const fixed = this._take(FIXED);
    if (fixed) return fixedValue(fixed[0]);
    const number = this._take(NUMBER);
    if (number) return integer(number);
    throw this._wrong("a value");
  }

  end() {
    this._take(BLANK);
    if (this._at < this._text.length) throw this._wrong("the end");
  }

  /** @param {number} depth */
  _object(depth) {
    /** @type {[string, JsonValue][]} */
    const members = [];
    this._list("}", () => {
      if (this._text[this._at] !== '"') throw this._wrong("a key");
      const key = this._string();
      this._take(BLANK);
      if (this._text[this._at] !== ":") throw this._wrong("a colon");
      this._at += 1;
      members.push([key, this.value(depth + 1)]);
    });
    const keys = new Set(members.map(([key]) => key));
    if (keys.size !== members.length) throw new ProfileError("an object holds the same key twice");
    return Object.fromEntries(members);
  }

  /** @param {number} depth */
  _array(depth) {
    /** @type {JsonValue[]} */
    const items = [];
    this._list("]", () => items.push(this.value(depth + 1)));
    return items;
  }

  /** @param {string} close @param {() => void} item Reads the next one. */
  _list(close, item) {
    this._at += 1;
    this._take(BLANK);
    if (this._text[this._at] !== close) {
      for (;;) {
        item();
        this._take(BLANK);
        if (this._text[this._at] !== ",") break;
        this._at += 1;
        this._take(BLANK);
      }
      if (this._text[this._at] !== close) throw this._wrong(`, or ${close}`);
    }
    this._at += 1;
  }

  /** @returns {string} */
  _string() {
    const found = this._take(STRING);
    if (!found) throw this._wrong("a string");
    return JSON.parse(found[0]);
  }

  /** @param {RegExp} pattern */
  _take(pattern) {
    pattern.lastIndex = this._at;
    const found = pattern.exec(this._text);
    if (found) this._at = pattern.lastIndex;
    return found;
  }

  /** @param {string} expected */
  _wrong(expected) {
    return new FormatError(`not JSON: ${expected} is missing at character ${this._at}`);
  }
}

/** @param {string} word */
function fixedValue(word) {
  const values = new Map([
    ["true", true],
    ["false", false],
    ["null", null],
  ]);
  if (!values.has(word)) throw new ProfileError(`${word}: floats are not in the event profile`);
  return /** @type {boolean | null} */ (values.get(word));
}

/** @param {RegExpExecArray} found */
function integer(found) {
  if (found[1] || found[2]) throw new ProfileError(`${found[0].slice(0, 40)}: floats are not in the event profile`);
  if (found[0].length > INTEGER_CHARS_MAX) {
    throw new ProfileError("an integer of 2^53 or more is not exact in every JSON reader");
  }
  return Number(found[0]);
}
