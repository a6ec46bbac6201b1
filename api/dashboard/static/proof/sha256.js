// Owns SHA-256 that can be fed piece by piece (FIPS 180-4).
//
// WebCrypto digests one buffer at a time, whole and asynchronously: it can neither be fed an output of
// hundreds of MiB in pieces, nor asked three times an event without costing far more than the hashing itself.
// `agreesWithWebCrypto` compares the two before anything is judged.
// @ts-check

import { equalBytes } from "./bytes.js";

const BLOCK_BYTES = 64;
/** As many as the browser gives at once. */
const RANDOM_BYTES_MAX = 65536;

/** The first 32 bits of the fractional part of a root of a prime: exact, since 53 bits hold them. */
const fraction = (/** @type {number} */ root) => ((root - Math.floor(root)) * 2 ** 32) | 0;

const PRIMES = Array.from({ length: 312 }, (_, number) => number).filter(
  (number) =>
    number > 1 &&
    !Array.from({ length: number }, (_, other) => other).some((other) => other > 1 && number % other === 0),
);
const ROUND = Int32Array.from(PRIMES.slice(0, 64), (prime) => fraction(Math.cbrt(prime)));
const START = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));

const schedule = new Int32Array(64);

/**
 * Hash one block into the state.
 * @param {Int32Array} state @param {Uint8Array} bytes @param {number} at
 */
function compress(state, bytes, at) {
  const w = schedule;
  for (let t = 0; t < 16; t += 1, at += 4) {
    w[t] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }
  for (let t = 16; t < 64; t += 1) {
    const x = w[t - 15];
    const y = w[t - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[t] = (w[t - 16] + s0 + w[t - 7] + s1) | 0;
  }
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let t = 0; t < 64; t += 1) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + (g ^ (e & (f ^ g))) + ROUND[t] + w[t]) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (c & (a ^ b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

/** A running digest. */
export class Sha256 {
  constructor() {
    this.size = 0;
    this._state = START.slice();
    this._block = new Uint8Array(BLOCK_BYTES);
  }

  /** @param {Uint8Array} bytes @returns {this} */
  update(bytes) {
    let at = 0;
    const filled = this.size % BLOCK_BYTES;
    this.size += bytes.length;
    if (filled) {
      const missing = BLOCK_BYTES - filled;
      if (bytes.length < missing) {
        this._block.set(bytes, filled);
        return this;
      }
      this._block.set(bytes.subarray(0, missing), filled);
      compress(this._state, this._block, 0);
      at = missing;
    }
    for (; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) compress(this._state, bytes, at);
    if (at < bytes.length) this._block.set(bytes.subarray(at));
    return this;
  }

  /** @returns {Uint8Array} The digest of what was fed so far, which can be fed on. */
  digest() {
    const state = this._state.slice();
    const block = this._block.slice();
    let filled = this.size % BLOCK_BYTES;
    block[filled] = 0x80;
    filled += 1;
    block.fill(0, filled);
    if (filled > BLOCK_BYTES - 8) {
      compress(state, block, 0);
      block.fill(0);
    }
    const view = new DataView(block.buffer);
    view.setUint32(56, Math.floor((this.size * 8) / 2 ** 32));
    view.setUint32(60, (this.size * 8) % 2 ** 32);
    compress(state, block, 0);
    return bytesOf(state);
  }
}

/** What is hashed at once, with its padding, lies here. */
const scratch = new Uint8Array(8192);
const scratchView = new DataView(scratch.buffer);
const PADDING_BYTES_MIN = 9;
const scratchState = new Int32Array(8);

/** @param {...Uint8Array} parts @returns {Uint8Array} The digest of the parts, joined. */
export function sha256(...parts) {
  let size = 0;
  for (const part of parts) size += part.length;
  if (size > scratch.length - PADDING_BYTES_MIN) {
    const hash = new Sha256();
    for (const part of parts) hash.update(part);
    return hash.digest();
  }
  let at = 0;
  for (const part of parts) {
    scratch.set(part, at);
    at += part.length;
  }
  const end = Math.ceil((size + PADDING_BYTES_MIN) / BLOCK_BYTES) * BLOCK_BYTES;
  scratch.fill(0, size, end);
  scratch[size] = 0x80;
  scratchView.setUint32(end - 4, size * 8);
  scratchState.set(START);
  for (at = 0; at < end; at += BLOCK_BYTES) compress(scratchState, scratch, at);
  return bytesOf(scratchState);
}

/** @param {Int32Array} state @returns {Uint8Array} */
function bytesOf(state) {
  const result = new Uint8Array(32);
  for (let at = 0; at < 8; at += 1) {
    const word = state[at];
    result[4 * at] = word >>> 24;
    result[4 * at + 1] = word >>> 16;
    result[4 * at + 2] = word >>> 8;
    result[4 * at + 3] = word;
  }
  return result;
}

const SAMPLE_BYTES = [0, 55, 56, 63, 64, 65, 1000, 8183, 8184, 100_000];

/**
 * Does this SHA-256 give what the browser's own gives, around its borders and over random bytes, at once and in pieces?
 * @returns {Promise<boolean>}
 */
export async function agreesWithWebCrypto() {
  for (const size of SAMPLE_BYTES) {
    const sample = new Uint8Array(size);
    for (let at = 0; at < size; at += RANDOM_BYTES_MAX) crypto.getRandomValues(sample.subarray(at, at + RANDOM_BYTES_MAX));
    const theirs = new Uint8Array(await crypto.subtle.digest("SHA-256", sample));
    const cut = Math.floor(size / 3);
    const pieces = new Sha256().update(sample.subarray(0, cut)).update(sample.subarray(cut));
    if (!equalBytes(theirs, sha256(sample)) || !equalBytes(theirs, pieces.digest())) return false;
  }
  return true;
}
