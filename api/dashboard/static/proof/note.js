// Owns signed notes and the keys that sign them: C2SP signed-note with Ed25519 (PROOF P6, P9.3).
// @ts-check

import { FormatError, concat, decodeBase64, decodeUtf8, encodeBase64, encodeUtf8, toHex } from "./bytes.js";
import { digest } from "./record.js";

export const ED25519 = 0x01;
/** Signature type of a timestamped cosignature (C2SP tlog-cosignature). */
export const COSIGNATURE = 0x04;

export const NOTE_BYTES_MAX = 64 * 1024;
const SIGNATURES_MAX = 64;
const NAME_CHARS_MAX = 255;
const KEY_BYTES = 32;
const KEY_ID_BYTES = 4;
export const SIGNATURE_BYTES = 64;

const FIELD_PRIME = 2n ** 255n - 19n;
/** The y coordinates of the eight points whose order divides 8: keys that sign anything. */
const LOW_ORDER_Y = new Set([
  0n,
  1n,
  FIELD_PRIME - 1n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
]);

// White_Space is Unicode's; `\s` of this language holds U+FEFF too, which is no space.
// eslint-disable-next-line no-control-regex
const NAME = /^[^\p{White_Space}+\x00-\x20\x7f-\x9f]+$/u;
const SIGNATURE_LINE = /^\u2014 (\P{White_Space}+) (\P{White_Space}+)$/u;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x09\x0b-\x1f]/;

/** The note cannot be accepted; the message says why. */
export class NoteError extends FormatError {}
/** A signature by a key that is trusted does not fit the text: the note was changed. */
export class BadSignature extends NoteError {}
/** None of the note's signatures is by a key that is trusted. */
export class UnknownKey extends NoteError {}

/** @typedef {{name: string, keyId: string, signature: Uint8Array, text: string}} SignatureLine */

/** Can it be a key name and an origin: no white space, no control character, no `+`? @param {string} name */
export const isKeyName = (name) => NAME.test(name) && [...name].length <= NAME_CHARS_MAX;

/** One trusted public key, read from its verifier key string (P6). */
export class Verifier {
  /** @param {string} name @param {string} keyId Hex. @param {number} type @param {Uint8Array} publicKey @param {string} text */
  constructor(name, keyId, type, publicKey, text) {
    this.name = name;
    this.keyId = keyId;
    this.type = type;
    this.publicKey = publicKey;
    this.text = text;
  }

  /**
   * Read `name+hex(id)+base64(type || key)`.
   * @param {string} text
   * @returns {Promise<Verifier>} Throws `FormatError` for another spelling, an id that does not fit, weak keys.
   */
  static async parse(text) {
    const [name, keyId, ...rest] = text.split("+");
    if (!rest.length || !isKeyName(name)) throw new FormatError("a verifier key is name+id+key");
    const material = decodeBase64(rest.join("+"));
    if (material.length !== 1 + KEY_BYTES || ![ED25519, COSIGNATURE].includes(material[0])) {
      throw new FormatError(`key ${name}: only Ed25519 keys (types 01 and 04) are supported`);
    }
    const id = await digest(concat(encodeUtf8(`${name}\n`), material));
    if (keyId !== toHex(id.subarray(0, KEY_ID_BYTES))) {
      throw new FormatError(`key ${name}: the id is not that of the key, one of them was mistyped`);
    }
    refuseWeakKey(material.subarray(1));
    return new Verifier(name, keyId, material[0], material.subarray(1), text);
  }

  /** What signature lines and envelopes call this key. */
  get id() {
    return `${this.name}+${this.keyId}`;
  }

  /** @param {Uint8Array} message @param {Uint8Array} signature @returns {Promise<boolean>} */
  async isValid(message, signature) {
    if (signature.length !== SIGNATURE_BYTES) return false;
    const key = await crypto.subtle.importKey("raw", /** @type {BufferSource} */ (this.publicKey), "Ed25519", false, [
      "verify",
    ]);
    return crypto.subtle.verify(
      "Ed25519",
      key,
      /** @type {BufferSource} */ (signature),
      /** @type {BufferSource} */ (message),
    );
  }
}

/** Refuse keys with which anyone can make signatures, or that have a second spelling (P6). @param {Uint8Array} key */
function refuseWeakKey(key) {
  const y = BigInt(`0x${toHex(key.slice().reverse())}`) & (2n ** 255n - 1n);
  if (y >= FIELD_PRIME) throw new FormatError("the public key is not canonical: its y coordinate is not reduced");
  if (LOW_ORDER_Y.has(y)) throw new FormatError("the public key is a point of low order: anyone could sign with it");
}

/**
 * The text and the signature lines, nothing verified.
 * @param {Uint8Array} note
 * @returns {{text: string, lines: SignatureLine[]}} Throws `FormatError`.
 */
export function splitNote(note) {
  if (note.length > NOTE_BYTES_MAX) throw new NoteError(`a note has at most ${NOTE_BYTES_MAX} bytes`);
  const whole = decodeUtf8(note);
  const border = whole.lastIndexOf("\n\n");
  const text = border < 0 ? "\n" : whole.slice(0, border + 1);
  const block = border < 0 ? whole : whole.slice(border + 2);
  if (text === "\n" || CONTROL.test(text)) {
    throw new NoteError("the text of a note is not empty, ends with LF and has no control characters but LF");
  }
  if (!block.endsWith("\n")) {
    throw new NoteError("a note is its text, an empty line, and signature lines that end with LF");
  }
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > SIGNATURES_MAX) throw new NoteError(`a note has at most ${SIGNATURES_MAX} signatures`);
  return { text, lines: lines.map(parseSignatureLine) };
}

/** @param {string} line @returns {SignatureLine} */
function parseSignatureLine(line) {
  const match = SIGNATURE_LINE.exec(line);
  if (!match || !isKeyName(match[1])) {
    throw new NoteError("a signature line is an em dash, a key name and base64, one space between");
  }
  const data = decodeBase64(match[2]);
  if (data.length <= KEY_ID_BYTES) throw new NoteError("a signature is too short to hold a key id and a signature");
  return {
    name: match[1],
    keyId: toHex(data.subarray(0, KEY_ID_BYTES)),
    signature: data.subarray(KEY_ID_BYTES),
    text: line,
  };
}

/**
 * Check every signature that one of the keys can check.
 * @param {Uint8Array} note @param {Verifier[]} keys
 * @returns {Promise<{text: string, lines: SignatureLine[], verified: Verifier[], unknown: SignatureLine[]}>}
 *   Throws `BadSignature`, `UnknownKey`, and `FormatError` for a note that is malformed or signed twice by one key.
 */
export async function openNote(note, keys) {
  const { text, lines } = splitNote(note);
  const trusted = new Map(keys.filter((key) => key.type === ED25519).map((key) => [key.id, key]));
  /** @type {Verifier[]} */
  const verified = [];
  const unknown = [];
  for (const line of lines) {
    const key = trusted.get(`${line.name}+${line.keyId}`);
    if (!key) {
      unknown.push(line);
      continue;
    }
    if (verified.includes(key)) throw new NoteError(`${line.name} signed twice`);
    if (!(await key.isValid(encodeUtf8(text), line.signature))) {
      throw new BadSignature(`the signature of ${line.name} does not fit: the text or it was changed`);
    }
    verified.push(key);
  }
  if (!verified.length) throw new UnknownKey("no signature is by a key that the policy names");
  return { text, lines, verified, unknown };
}

/** Are lines of one kind ascending, as the notes of a bundle hold them (P9.3)? @param {SignatureLine[]} lines */
export const areInOrder = (lines) => lines.every((line, at) => at === 0 || !isBefore(line.text, lines[at - 1].text));

/** By code point, as the definition sorts; code units differ beyond U+FFFF. @param {string} left @param {string} right */
function isBefore(left, right) {
  const [a, b] = [[...left], [...right]];
  const at = a.findIndex((character, place) => character !== b[place]);
  if (at < 0) return a.length < b.length;
  return at < b.length && /** @type {number} */ (a[at].codePointAt(0)) < /** @type {number} */ (b[at].codePointAt(0));
}

/** @param {Verifier} key @returns {string} The public key in base64, to compare keys by. */
export const publicKeyText = (key) => encodeBase64(key.publicKey);
