// Owns the checkpoint of a stream: the three lines that are signed (PROOF P4.3, C2SP tlog-checkpoint).
// @ts-check

import { FormatError, encodeBase64, parseHash } from "./bytes.js";
import { isKeyName } from "./note.js";
import { STREAM_ID, parseDecimal } from "./record.js";

/** @typedef {{originLine: string, size: number, root: Uint8Array}} Checkpoint */

/** @type {Readonly<Record<string, string>>} */
const KINDS = { wsr: "run", org: "org" };

/** @param {Checkpoint} checkpoint @returns {string} The pair of `parseCheckpoint`. */
export const checkpointText = ({ originLine, size, root }) => `${originLine}\n${size}\n${encodeBase64(root)}\n`;

/** @param {string} text @returns {Checkpoint} Throws `FormatError`. */
export function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3]) throw new FormatError("a checkpoint is three lines, each ended by LF");
  if (!isKeyName(lines[0])) throw new FormatError("the first line of a checkpoint is an origin: no spaces, no '+'");
  return { originLine: lines[0], size: parseDecimal(lines[1]), root: parseHash(lines[2]) };
}

/** @param {string} originLine @returns {{origin: string, stream: string}} Throws `FormatError`. */
export function splitOrigin(originLine) {
  const parts = originLine.split("/");
  const [kind, stream] = parts.slice(-2);
  const origin = parts.slice(0, -2).join("/");
  if (parts.length < 3 || !STREAM_ID.test(stream) || kind !== KINDS[stream.slice(0, 3)] || !isKeyName(origin)) {
    throw new FormatError("the first line of a run checkpoint is <origin>/run/<id> or <origin>/org/<id>");
  }
  return { origin, stream };
}
