// Owns what this browser remembers of earlier checks: the server's keys and witnesses, and where runs stood.
// @ts-check

import { decodeBase64, encodeBase64 } from "./bytes.js";

/** @typedef {{keys: string[], witnesses: {name: string, text: string}[], since: string}} Remembered */

const KEYS = "crownest:proof:keys";
const RUNS = "crownest:proof:runs";
/** Runs whose newest checkpoint is remembered. */
const RUNS_MAX = 200;

/** @returns {Remembered | null} null where nothing was seen yet, or the browser keeps nothing. */
export function rememberedKeys() {
  const found = read(KEYS);
  return found !== null && Array.isArray(found.keys) && Array.isArray(found.witnesses) ? found : null;
}

/** @param {string[]} keys Verifier keys. @param {Remembered["witnesses"]} witnesses @param {string} since ISO time. @returns {boolean} Whether the browser keeps it. */
export const rememberKeys = (keys, witnesses, since) => write(KEYS, { keys, witnesses, since });

/** @param {string} runId @returns {import("./checkpoint.js").Checkpoint | null} The checkpoint of the last check that held. */
export function rememberedRun(runId) {
  const found = runs().find(([id]) => id === runId);
  if (!found) return null;
  const [, originLine, size, root] = found;
  return { originLine, size, root: decodeBase64(root) };
}

/** @param {string} runId @param {{originLine: string, size: number, root: string}} checkpoint `root` in base64. */
export function rememberRun(runId, { originLine, size, root }) {
  const others = runs().filter(([id]) => id !== runId);
  write(RUNS, [[runId, originLine, size, root], ...others].slice(0, RUNS_MAX));
}

/** @param {string} runId */
export const forgetRun = (runId) =>
  write(
    RUNS,
    runs().filter(([id]) => id !== runId),
  );

/** @returns {[id: string, originLine: string, size: number, root: string][]} Those that can be read, newest first. */
function runs() {
  const found = read(RUNS);
  return Array.isArray(found) ? found.filter(isRun) : [];
}

/** @param {any} entry */
function isRun(entry) {
  if (!Array.isArray(entry) || typeof entry[1] !== "string" || !Number.isSafeInteger(entry[2])) return false;
  try {
    return encodeBase64(decodeBase64(entry[3])) === entry[3];
  } catch {
    return false;
  }
}

/** @param {string} name @returns {any} */
function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} name @param {unknown} value */
function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
