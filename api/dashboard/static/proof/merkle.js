// Owns the Merkle tree over leaves: hashing, append state, inclusion (PROOF P3, RFC 6962, RFC 9162).
// @ts-check

import { HASH_BYTES, concat, equalBytes } from "./bytes.js";
import { digest } from "./record.js";

const NODE = Uint8Array.of(0x01);

/** @param {Uint8Array} left @param {Uint8Array} right */
export const nodeHash = (left, right) => digest(concat(NODE, left, right));

/** The append state of a tree: its size and the roots of its full subtrees, largest first. */
export class CompactRange {
  constructor() {
    this.size = 0;
    /** @type {Uint8Array[]} */
    this._stack = [];
  }

  /** Append consecutive leaves, level by level, so that the browser hashes many nodes at once. @param {Uint8Array[]} leaves */
  async append(leaves) {
    for (const [level, start] of cover(this.size, this.size + leaves.length)) {
      const at = start - this.size;
      await this._push(level, await subtreeRoot(leaves.slice(at, at + 2 ** level)));
      leaves = leaves.slice(at + 2 ** level);
    }
  }

  /** @param {number} level @param {Uint8Array} root */
  async _push(level, root) {
    for (let carry = Math.floor(this.size / 2 ** level); carry % 2; carry = Math.floor(carry / 2)) {
      root = await nodeHash(/** @type {Uint8Array} */ (this._stack.pop()), root);
    }
    this._stack.push(root);
    this.size += 2 ** level;
  }

  /** @returns {Promise<Uint8Array>} The root of the tree as it stands. */
  async root() {
    if (!this._stack.length) return digest(new Uint8Array());
    let root = this._stack[this._stack.length - 1];
    for (const left of this._stack.slice(0, -1).reverse()) root = await nodeHash(left, root);
    return root;
  }
}

/** @param {Uint8Array[]} nodes A power of two of them. */
async function subtreeRoot(nodes) {
  while (nodes.length > 1) {
    const pairs = Array.from({ length: nodes.length / 2 }, (_, at) => nodeHash(nodes[2 * at], nodes[2 * at + 1]));
    nodes = await Promise.all(pairs);
  }
  return nodes[0];
}

/**
 * The fewest full, aligned subtrees that cover leaves [start, end), in order.
 * @param {number} start @param {number} end @returns {[level: number, start: number][]}
 */
export function cover(start, end) {
  /** @type {[number, number][]} */
  const result = [];
  while (start < end) {
    let level = 0;
    while (start % 2 ** (level + 1) === 0 && start + 2 ** (level + 1) <= end) level += 1;
    result.push([level, start]);
    start += 2 ** level;
  }
  return result;
}

/**
 * Does the leaf stand at `index` of the tree with this root (RFC 9162 2.1.3.2, P3.2)?
 * @param {number} index @param {number} size @param {Uint8Array} leaf @param {Uint8Array[]} path @param {Uint8Array} root
 */
export async function verifyInclusion(index, size, leaf, path, root) {
  if (!(index >= 0 && index < size) || [leaf, root, ...path].some((hash) => hash.length !== HASH_BYTES)) return false;
  let first = index;
  let last = size - 1;
  let result = leaf;
  for (const sibling of path) {
    if (last === 0) return false;
    if (first % 2 || first === last) {
      result = await nodeHash(sibling, result);
      while (first % 2 === 0 && first) [first, last] = [half(first), half(last)];
    } else {
      result = await nodeHash(result, sibling);
    }
    [first, last] = [half(first), half(last)];
  }
  return last === 0 && equalBytes(result, root);
}

/** Sizes have up to 53 bits, more than shifts keep. @param {number} number */
const half = (number) => Math.floor(number / 2);
