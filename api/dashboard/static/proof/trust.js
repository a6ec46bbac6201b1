// Owns whose keys count in this browser: those that it saw first, and those that they vouch for (PROOF P6).
// @ts-check

import { decodeAscii } from "./bytes.js";
import { parseCheckpoint } from "./checkpoint.js";
import { readAll } from "./fetching.js";
import { openNote } from "./note.js";

/** @typedef {import("./note.js").Verifier} Verifier */

/** Changes of key that are followed. */
const HANDOVERS_MAX = 64;

/**
 * The signers that this browser has no reason to trust yet.
 * @param {Verifier[]} signers @param {Verifier[]} keys The policy's log keys, retired ones too.
 * @param {string[]} pinned Verifier keys that this browser remembers.
 * @returns {Promise<{strangers: Verifier[], vouchedFor: Verifier[]}>} `vouchedFor`: new ones that an older key signed beside.
 */
export async function unknownSigners(signers, keys, pinned) {
  const known = new Set(pinned);
  const isKnown = (/** @type {Verifier} */ key) => known.has(key.text);
  if (signers.every(isKnown)) return { strangers: [], vouchedFor: [] };
  for (const verified of await handovers(keys)) {
    if (verified.some(isKnown)) for (const key of verified) known.add(key.text);
  }
  const before = new Set(pinned);
  return {
    strangers: signers.filter((key) => !isKnown(key)),
    vouchedFor: keys.filter((key) => isKnown(key) && !before.has(key.text)),
  };
}

/** Who signed each checkpoint at which one key handed over to the next, oldest first. @param {Verifier[]} keys */
async function handovers(keys) {
  const sizes = decodeAscii(await readAll("/log/handovers"))
    .split("\n")
    .filter((line) => /^[0-9]{1,15}$/.test(line));
  /** @type {Verifier[][]} */
  const signers = [];
  for (const size of sizes.slice(0, HANDOVERS_MAX)) {
    try {
      const { text, verified } = await openNote(await readAll(`/log/handover/${size}`), keys);
      const { originLine } = parseCheckpoint(text);
      if (verified.every((key) => key.name === originLine)) signers.push(verified);
    } catch {
      continue; // a note that does not hold vouches for nothing
    }
  }
  return signers;
}
