// Owns the record of an event: its eight lines, its commitment, its leaf (PROOF P2).
// @ts-check

import { FormatError, concat, encodeUtf8, parseHash } from "./bytes.js";
import { sha256 } from "./sha256.js";

export const SCHEMA = "crownest/event/v1";
export const SALT_BYTES = 16;
const DIGITS_MAX = 15;
/** Up to here our own SHA-256 is done before the browser's would have begun. */
const SMALL_BYTES_MAX = 4096;

export const TYPE = /^[a-z_]{1,32}$/;
export const STREAM_ID = /^(?:wsr|org)_[A-Za-z0-9]{1,64}$/;
const DECIMAL = /^(?:0|[1-9][0-9]*)$/;
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$/;

const LEAF = Uint8Array.of(0x00);
const COMMITMENT = Uint8Array.of(0x02);

/** @param {Uint8Array} bytes @returns {Promise<Uint8Array>} Its SHA-256, by the browser. */
export const digest = async (bytes) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes)));

/** @param {Uint8Array} record @returns {Uint8Array} The RFC 6962 leaf hash, the `prev` of the next record. */
export const leafHash = (record) => sha256(LEAF, record);

/**
 * A small payload is hashed here and now, a large one by the browser, which answers later (decision 1132).
 * @param {Uint8Array} salt @param {Uint8Array} payload @returns {Uint8Array | Promise<Uint8Array>}
 */
export const commitment = (salt, payload) =>
  payload.length <= SMALL_BYTES_MAX
    ? sha256(COMMITMENT, salt, payload)
    : digest(concat(COMMITMENT, salt, payload));

/** `prev` of event 1: ties the stream to its id and its anchor (P2.3). @param {string} stream @param {Uint8Array} anchor */
export const genesis = (stream, anchor) => digest(concat(encodeUtf8(`crownest/genesis/v1\n${stream}\n`), anchor));

/** @param {string} text @returns {number} A decimal without sign or leading zeros, below 2^53. Throws `FormatError`. */
export function parseDecimal(text) {
  if (!DECIMAL.test(text) || text.length > DIGITS_MAX) {
    throw new FormatError("not a decimal number of at most 15 digits without leading zeros");
  }
  return Number(text);
}

/** The last time that was read: many events have the same. */
let lastText = "";
let lastMs = 0;

/** @param {string} text @returns {number} Unix milliseconds of exactly `YYYY-MM-DDTHH:MM:SS.mmmZ`. Throws `FormatError`. */
export function parseTime(text) {
  if (text === lastText) return lastMs;
  const ms = TIME.test(text) && !text.startsWith("0000") ? Date.parse(text) : NaN;
  if (Number.isNaN(ms) || new Date(ms).toISOString() !== text) {
    throw new FormatError("a time is YYYY-MM-DDTHH:MM:SS.mmmZ");
  }
  lastText = text;
  lastMs = ms;
  return ms;
}

/**
 * Read the eight lines of a record, without their LF.
 * @param {string[]} lines
 * @returns {{stream: string, seq: number}} Throws `FormatError`.
 */
export function parseRecord(lines) {
  const [schema, stream, seq, type, createdAt, size, bound, prev] = lines;
  if (schema !== SCHEMA) throw new FormatError(`a record starts with '${SCHEMA}' and ends after eight lines`);
  if (!STREAM_ID.test(stream)) throw new FormatError("line 2 is not the id of a run or an organisation");
  if (!TYPE.test(type)) throw new FormatError("line 4, the type, is 1 to 32 of a-z and _");
  parseTime(createdAt);
  const number = parseDecimal(seq);
  parseDecimal(size);
  parseHash(bound);
  parseHash(prev);
  return { stream, seq: number };
}
