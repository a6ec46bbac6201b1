// Owns the proof that the global log holds a run's checkpoint, and what witnesses say of it (PROOF P5, P9.1).
// @ts-check

import { FormatError, decodeAscii, encodeUtf8, parseHash } from "./bytes.js";
import { checkpointText, parseCheckpoint } from "./checkpoint.js";
import { verifyInclusion } from "./merkle.js";
import { NoteError, areInOrder, openNote } from "./note.js";
import { leafHash, parseDecimal } from "./record.js";
import { VerificationError } from "./verdict.js";

/** @typedef {import("./checkpoint.js").Checkpoint} Checkpoint */
/** @typedef {import("./note.js").Verifier} Verifier */
/** @typedef {import("./policy.js").Policy} Policy */

/**
 * A checkpoint of the global log whose signatures were checked; `cosigned` maps the policy's names of witnesses
 * to the unix seconds at which they saw it.
 * @typedef {{checkpoint: Checkpoint, signers: Verifier[], cosigned: Map<string, number>, unknown: number}} LogCheckpoint
 */

const HEADER = "c2sp.org/tlog-proof@v1";
const PATH_HASHES_MAX = 64;
const TIMESTAMP_BYTES = 8;
const TIMESTAMP_MAX = 253_402_300_799n;

/** @param {Uint8Array} bytes @returns {{index: number, path: Uint8Array[], note: Uint8Array}} Throws `FormatError`. */
export function parseTlogProof(bytes) {
  const border = bytes.findIndex((byte, at) => byte === 0x0a && bytes[at + 1] === 0x0a);
  if (border < 0) throw new FormatError("a tlog-proof is a head, an empty line and a checkpoint");
  const [header, index, ...path] = decodeAscii(bytes.subarray(0, border)).split("\n");
  if (header !== HEADER || !index?.startsWith("index ")) {
    throw new FormatError(`a tlog-proof is ${HEADER}, an index, hashes, an empty line and a checkpoint`);
  }
  if (path.length > PATH_HASHES_MAX) throw new FormatError(`an audit path has at most ${PATH_HASHES_MAX} hashes`);
  return {
    index: parseDecimal(index.slice("index ".length)),
    path: path.map(parseHash),
    note: bytes.subarray(border + 2),
  };
}

/**
 * Check the signatures of a checkpoint of the global log.
 * @param {Uint8Array} note @param {Policy} policy
 * @returns {Promise<LogCheckpoint>} Throws `FormatError`, and `VerificationError` (E_WITNESS_SIG).
 */
export async function openLogCheckpoint(note, policy) {
  const opened = await openNote(note, policy.logs);
  const checkpoint = parseCheckpoint(opened.text);
  if (opened.verified.some((key) => key.name !== checkpoint.originLine)) {
    throw new FormatError("the checkpoint is of another log than the one that signed it");
  }
  const names = new Map([...policy.witnesses].map(([name, key]) => [key.id, name]));
  const cosigned = new Map();
  let unknown = 0;
  for (const line of opened.unknown) {
    const name = names.get(`${line.name}+${line.keyId}`);
    if (name === undefined) {
      unknown += 1;
      continue;
    }
    if (cosigned.has(name)) throw new VerificationError("E_WITNESS_SIG", `Witness ${name} cosigned twice.`);
    const witness = /** @type {Verifier} */ (policy.witnesses.get(name));
    const at = await cosignedAt(opened.text, line, witness);
    if (at === null) throw new VerificationError("E_WITNESS_SIG", `The cosignature of ${name} does not fit.`);
    cosigned.set(name, at);
  }
  return { checkpoint, signers: opened.verified, cosigned, unknown };
}

/**
 * The unix second that a witness signed together with the text; null when the signature does not fit.
 * @param {string} text @param {import("./note.js").SignatureLine} line @param {Verifier} key
 */
export async function cosignedAt(text, line, key) {
  if (line.signature.length <= TIMESTAMP_BYTES) return null;
  const view = new DataView(line.signature.buffer, line.signature.byteOffset, TIMESTAMP_BYTES);
  const timestamp = view.getBigUint64(0);
  const message = encodeUtf8(`cosignature/v1\ntime ${timestamp}\n${text}`);
  const isValid = await key.isValid(message, line.signature.subarray(TIMESTAMP_BYTES));
  return isValid && timestamp <= TIMESTAMP_MAX ? Number(timestamp) : null;
}

/**
 * Does the log of this origin hold the run's checkpoint, and have enough witnesses seen it?
 * @param {Uint8Array} bytes @param {Policy} policy @param {Checkpoint} run @param {string} origin
 * @returns {Promise<LogCheckpoint & {index: number}>} Throws `VerificationError`.
 */
export async function judgeInclusion(bytes, policy, run, origin) {
  const { proof, log } = await opened(bytes, policy);
  const head = log.checkpoint;
  if (head.originLine !== origin) {
    throw new VerificationError("E_INCLUSION", `The proof is of the log ${head.originLine}.`);
  }
  if (log.unknown) {
    throw new VerificationError("E_INCLUSION", "It carries signatures of keys that the policy does not name.");
  }
  const leaf = leafHash(encodeUtf8(checkpointText(run)));
  if (!verifyInclusion(proof.index, head.size, leaf, proof.path, head.root)) {
    throw new VerificationError("E_INCLUSION", `The path from entry ${proof.index} does not lead to its root.`);
  }
  if (!policy.isQuorum(log.cosigned.keys())) {
    const names = [...log.cosigned.keys()].join(", ");
    throw new VerificationError("E_WITNESS_QUORUM", `Only these cosigned: ${names || "none"}.`);
  }
  return { ...log, index: proof.index };
}

/** @param {Uint8Array} bytes @param {Policy} policy */
async function opened(bytes, policy) {
  try {
    const proof = parseTlogProof(bytes);
    const log = await openLogCheckpoint(proof.note, policy);
    await refuseDisorder(proof.note, log, policy);
    return { proof, log };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const what = error instanceof NoteError ? "The log's checkpoint" : "run.tlog-proof";
    throw new VerificationError("E_INCLUSION", `${what}: ${error.message}.`);
  }
}

/** The log's signatures come first, then the cosignatures, each ascending (P9.3). @param {Uint8Array} note @param {LogCheckpoint} log @param {Policy} policy */
async function refuseDisorder(note, log, policy) {
  const { lines, unknown } = await openNote(note, policy.logs);
  const own = lines.slice(0, log.signers.length);
  const isFirst = own.every((line) => !unknown.includes(line));
  if (!isFirst || !areInOrder(own) || !areInOrder(unknown)) {
    throw new FormatError("its signature lines stand in another order than log, witnesses, each ascending");
  }
}

/** The earliest unix second by which a quorum had seen the checkpoint; null without witnesses. @param {Policy} policy @param {Map<string, number>} cosigned */
export const notAfter = (policy, cosigned) => quorumTime(policy, [...cosigned].sort(byTime));

/** The latest unix second such that a quorum cosigned no earlier; null without witnesses. @param {Policy} policy @param {Map<string, number>} cosigned */
export const notBefore = (policy, cosigned) => quorumTime(policy, [...cosigned].sort(byTime).reverse());

/** @param {[string, number]} left @param {[string, number]} right */
const byTime = (left, right) => left[1] - right[1];

/** @param {Policy} policy @param {[string, number][]} cosigned */
function quorumTime(policy, cosigned) {
  const names = new Set();
  for (const [name, at] of cosigned) {
    names.add(name);
    if (policy.quorum !== null && policy.isQuorum(names)) return at;
  }
  return null;
}
