// Owns the Merkle tree over leaves: hashing, append state, inclusion (PROOF P3, RFC 6962, RFC 9162).
// @ts-check

import { HASH_BYTES, equalBytes } from "./bytes.js";
import { sha256 } from "./sha256.js";

const NODE = Uint8Array.of(0x01);

/** @param {Uint8Array} left @param {Uint8Array} right */
export const nodeHash = (left, right) => sha256(NODE, left, right);

/** The append state of a tree: its size and the roots of its full subtrees, largest first. */
export class CompactRange {
  constructor() {
    this.size = 0;
    /** @type {Uint8Array[]} */
    this._stack = [];
  }

  /** @param {Uint8Array} leaf */
  append(leaf) {
    let root = leaf;
    for (let carry = this.size; carry % 2; carry = half(carry)) {
      root = nodeHash(/** @type {Uint8Array} */ (this._stack.pop()), root);
    }
    this._stack.push(root);
    this.size += 1;
  }

  /** @returns {Uint8Array} The root of the tree as it stands. */
  root() {
    if (!this._stack.length) return sha256();
    let root = this._stack[this._stack.length - 1];
    for (const left of this._stack.slice(0, -1).reverse()) root = nodeHash(left, root);
    return root;
  }
}

/**
 * Does the leaf stand at `index` of the tree with this root (RFC 9162 2.1.3.2, P3.2)?
 * @param {number} index @param {number} size @param {Uint8Array} leaf @param {Uint8Array[]} path @param {Uint8Array} root
 */
export function verifyInclusion(index, size, leaf, path, root) {
  if (!(index >= 0 && index < size) || [leaf, root, ...path].some((hash) => hash.length !== HASH_BYTES)) return false;
  let first = index;
  let last = size - 1;
  let result = leaf;
  for (const sibling of path) {
    if (last === 0) return false;
    if (first % 2 || first === last) {
      result = nodeHash(sibling, result);
      while (first % 2 === 0 && first) [first, last] = [half(first), half(last)];
    } else {
      result = nodeHash(result, sibling);
    }
    [first, last] = [half(first), half(last)];
  }
  return last === 0 && equalBytes(result, root);
}

/** Sizes have up to 53 bits, more than shifts keep. @param {number} number */
const half = (number) => Math.floor(number / 2);
