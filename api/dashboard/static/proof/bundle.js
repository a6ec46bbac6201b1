// Owns the members of a proof bundle, and the nine lines that an event has in `events.log` (PROOF P8).
// @ts-check

import { FormatError, concat } from "./bytes.js";
import { ENVELOPE_BYTES_MAX } from "./dsse.js";
import { MEMBERS as ATTESTATIONS } from "./attestation.js";
import { NOTE_BYTES_MAX } from "./note.js";

export const EVIDENCE = "evidence.json";
export const EVENTS = "events.log";
export const CHECKPOINT = "run.checkpoint";
export const ANCHOR = "anchor.note";
export const TLOG_PROOF = "run.tlog-proof";
export const ARTIFACTS = "artifacts/";

const EVIDENCE_BYTES_MAX = 4 * 1024 * 1024;
const ORDER = [EVIDENCE, CHECKPOINT, ANCHOR, EVENTS, TLOG_PROOF, ...ATTESTATIONS];
const ARTIFACT = /^artifacts\/[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;

const RECORD_LINES = 8;
const RECORD_LINE_BYTES_MAX = 128;
const PAYLOAD_LINE_BYTES_MAX = 1024 * 1024;
const LF = 0x0a;
const latin1 = new TextDecoder("latin1");

/** One event: its eight record lines, joined and apart, each with its LF, and the ninth line with its LF. */
/** @typedef {{record: Uint8Array, lines: string[], last: Uint8Array}} Entry */

/** How many bytes a member that is read whole may have. @param {string} name */
export function bytesMaxOf(name) {
  if (name === EVIDENCE) return EVIDENCE_BYTES_MAX;
  if (name === TLOG_PROOF) return NOTE_BYTES_MAX + 4096;
  return ATTESTATIONS.includes(name) ? ENVELOPE_BYTES_MAX : NOTE_BYTES_MAX;
}

/** Refuse members out of their order, unknown ones, and a bundle that lacks what it must have. */
export class MemberOrder {
  constructor() {
    this._place = -1;
    this._last = "";
  }

  /** @param {string} name The next member, or "" at the end. */
  take(name) {
    const place = name === "" ? ORDER.length + 1 : placeOf(name);
    for (const required of [CHECKPOINT, ANCHOR, EVENTS]) {
      const at = ORDER.indexOf(required);
      if (this._place < at && at < place) throw new FormatError(`the bundle lacks ${required}, or it stands elsewhere`);
    }
    if (place < this._place || (place === this._place && name <= this._last)) {
      throw new FormatError(`the members stand in another order than ${ORDER.join(", ")}, artifacts`);
    }
    this._place = place;
    this._last = name;
  }
}

/** @param {string} name */
function placeOf(name) {
  const place = ORDER.indexOf(name);
  if (place >= 0) return place;
  if (!ARTIFACT.test(name)) throw new FormatError(`${name} is no member of a proof bundle that this page knows`);
  return ORDER.length;
}

/** Cuts `events.log` into entries, as its pieces come in. */
export class EntrySplitter {
  constructor() {
    this._rest = new Uint8Array();
  }

  /** @param {Uint8Array} chunk @returns {Entry[]} Those that end in it. */
  push(chunk) {
    return this._split(this._rest.length ? concat(this._rest, chunk) : chunk, false);
  }

  /** @returns {Entry[]} What is left at the end of the log: at most one entry, and it is cut. */
  finish() {
    return this._split(this._rest, true);
  }

  /** @param {Uint8Array} data @param {boolean} isAll */
  _split(data, isAll) {
    const entries = [];
    let start = 0;
    while (start < data.length) {
      const ends = lineEnds(data, start, isAll);
      if (ends === null) break;
      entries.push(entryOf(data, start, ends));
      start = ends[RECORD_LINES];
    }
    this._rest = data.subarray(start);
    return entries;
  }
}

/**
 * Where each of nine lines from `start` on ends, each as long as it may be; null where more bytes are needed.
 * @param {Uint8Array} data @param {number} start @param {boolean} isAll
 */
function lineEnds(data, start, isAll) {
  const ends = [];
  let at = start;
  for (let line = 0; line <= RECORD_LINES; line += 1) {
    const longest = at + (line < RECORD_LINES ? RECORD_LINE_BYTES_MAX : PAYLOAD_LINE_BYTES_MAX);
    const found = data.indexOf(LF, at) + 1;
    if (found > 0 && found <= longest) at = found;
    else if (longest <= data.length) at = longest;
    else if (isAll) at = data.length;
    else return null;
    ends.push(at);
  }
  return ends;
}

/** @param {Uint8Array} data @param {number} start @param {number[]} ends @returns {Entry} */
function entryOf(data, start, ends) {
  const record = data.subarray(start, ends[RECORD_LINES - 1]);
  const text = latin1.decode(record);
  const lines = ends.slice(0, RECORD_LINES).map((end, at) => text.slice(at ? ends[at - 1] - start : 0, end - start));
  return { record, lines, last: data.subarray(ends[RECORD_LINES - 1], ends[RECORD_LINES]) };
}
