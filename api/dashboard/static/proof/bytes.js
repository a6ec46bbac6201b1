// Owns bytes and their spellings: base64 and hex in their one form, UTF-8 without mercy (PROOF P9.3).
// @ts-check

export const HASH_BYTES = 32;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lossyUtf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const utf8Encoder = new TextEncoder();

/** The bytes cannot be read as what they should be; the message says why. */
export class FormatError extends Error {}

/** @param {string} text @returns {Uint8Array} Its UTF-8. */
export const encodeUtf8 = (text) => utf8Encoder.encode(text);

/** @param {Uint8Array} bytes @returns {string} The text. Throws `FormatError` unless it is UTF-8. */
export function decodeUtf8(bytes) {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new FormatError("not UTF-8");
  }
}

/**
 * Each faulty sequence becomes U+FFFD, as the definition asks of output (P1.3).
 * @param {Uint8Array} bytes @returns {string}
 */
export const decodeLossy = (bytes) => lossyUtf8.decode(bytes);

/** @param {Uint8Array} bytes @returns {string} The text. Throws `FormatError` unless it is ASCII. */
export function decodeAscii(bytes) {
  if (!isAscii(bytes)) throw new FormatError("not ASCII");
  return utf8.decode(bytes);
}

/** @param {Uint8Array} bytes @returns {boolean} */
export function isAscii(bytes) {
  for (let at = 0; at < bytes.length; at += 1) if (bytes[at] > 0x7f) return false;
  return true;
}

/** @param {Uint8Array} left @param {Uint8Array} right @returns {boolean} */
export function equalBytes(left, right) {
  if (left.length !== right.length) return false;
  for (let at = 0; at < left.length; at += 1) if (left[at] !== right[at]) return false;
  return true;
}

/** @param {...Uint8Array} parts @returns {Uint8Array} */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {Uint8Array} bytes @returns {string} Lowercase hex. */
export function toHex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** @param {string} text Lowercase or uppercase hex of whole bytes, checked by the caller. */
export function fromHex(text) {
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

const CHUNK_CHARS = 8192;

/** @param {Uint8Array} bytes @returns {string} RFC 4648 standard alphabet with padding. */
export function encodeBase64(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += CHUNK_CHARS) {
    binary += String.fromCharCode.apply(null, /** @type {any} */ (bytes.subarray(at, at + CHUNK_CHARS)));
  }
  return btoa(binary);
}

/**
 * The one spelling only: no spaces, no stray bits, no missing padding.
 * @param {string} text @returns {Uint8Array} Throws `FormatError`.
 */
export function decodeBase64(text) {
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new FormatError("not base64 of the standard alphabet with padding");
  }
  if (btoa(binary) !== text) {
    throw new FormatError("base64 with stray bits or padding: another spelling of the same bytes");
  }
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** @param {string} text @returns {Uint8Array} The 32 bytes of a hash in base64. Throws `FormatError`. */
export function parseHash(text) {
  const bytes = decodeBase64(text);
  if (bytes.length !== HASH_BYTES) throw new FormatError("a hash has 32 bytes");
  return bytes;
}
