// Owns the bytes of one output stream, kept in blocks.

import { BLOCK_BYTES } from "./limits.js";

/** Bytes that are only ever appended, addressed by their offset in the stream. */
export class ByteLog {
  constructor() {
    /** @type {Uint8Array[]} */
    this.blocks = [];
    this.length = 0;
  }

  /** @param {Uint8Array} bytes */
  append(bytes) {
    let taken = 0;
    while (taken < bytes.length) {
      const at = this.length % BLOCK_BYTES;
      if (at === 0) this.blocks.push(new Uint8Array(BLOCK_BYTES));
      const room = Math.min(BLOCK_BYTES - at, bytes.length - taken);
      this.blocks[this.blocks.length - 1].set(bytes.subarray(taken, taken + room), at);
      taken += room;
      this.length += room;
    }
  }

  /**
   * The bytes from `start` up to `end`; a copy only where they lie in more than one block.
   * @param {number} start
   * @param {number} end
   * @returns {Uint8Array}
   */
  slice(start, end) {
    if (end <= start) return new Uint8Array(0);
    const first = Math.floor(start / BLOCK_BYTES);
    const last = Math.floor((end - 1) / BLOCK_BYTES);
    if (first === last) return this.blocks[first].subarray(start - first * BLOCK_BYTES, end - first * BLOCK_BYTES);
    const joined = new Uint8Array(end - start);
    for (let block = first; block <= last; block += 1) {
      const base = block * BLOCK_BYTES;
      const from = Math.max(start, base);
      const to = Math.min(end, base + BLOCK_BYTES);
      joined.set(this.blocks[block].subarray(from - base, to - base), from - start);
    }
    return joined;
  }
}

/** A typed array that grows by doubling. */
export class Column {
  /** @param {Uint8ArrayConstructor|Uint32ArrayConstructor|Float64ArrayConstructor} Type */
  constructor(Type, capacity = 1024) {
    this.values = new Type(capacity);
    this.length = 0;
  }

  /** @param {number} value */
  push(value) {
    if (this.length === this.values.length) {
      const grown = new /** @type {any} */ (this.values.constructor)(this.length * 2);
      grown.set(this.values);
      this.values = grown;
    }
    this.values[this.length] = value;
    this.length += 1;
  }

  /**
   * How many of the ascending values are at most `value`.
   * @param {number} value
   */
  countUpTo(value) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.values[middle] <= value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
