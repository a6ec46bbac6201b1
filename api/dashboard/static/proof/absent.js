// Owns what is known of payloads that are not there: redacted ones and withheld ones (PROOF P7).
// @ts-check

import { FormatError, encodeBase64, fromHex } from "./bytes.js";
import { isObject } from "./json.js";
import { VerificationError } from "./verdict.js";

/** @typedef {import("./chain.js").Header} Header */

export const OUTPUT_TYPES = new Set(["stdout", "stderr"]);
/** Raw bytes of one output event (P1.3). */
export const OUTPUT_EVENT_BYTES_MAX = 64 * 1024;
const ABSENT_MAX = 1_000_000;
const HEX_HASH = /^[0-9a-f]{64}$/;

/** The events without payload so far, and which of them a redaction names. */
export class AbsentPayloads {
  constructor() {
    /** @type {Set<string>} */
    this.types = new Set();
    /** By type, how many raw bytes of output the absent payloads can have held together. @type {Map<string, number>} */
    this.outputBytesMax = new Map();
    /** @type {Map<number, {commitment: string, isOutput: boolean, isRecorded: boolean}>} */
    this._events = new Map();
  }

  /** @param {Header} header */
  add({ seq, type, payloadSize, commitment }) {
    if (this._events.size >= ABSENT_MAX) {
      throw new VerificationError("E_FORMAT", `More than ${ABSENT_MAX} payloads are absent.`, seq);
    }
    this.types.add(type);
    this._events.set(seq, { commitment, isOutput: OUTPUT_TYPES.has(type), isRecorded: false });
    // A payload is never shorter than the output in it.
    const most = (this.outputBytesMax.get(type) ?? 0) + Math.min(payloadSize, OUTPUT_EVENT_BYTES_MAX);
    this.outputBytesMax.set(type, most);
  }

  /** Match a `redaction` event with the payloads that it names. @param {{[key: string]: unknown}} event */
  record(event) {
    for (const [seq, commitment] of targetsOf(event)) {
      const found = this._events.get(seq);
      if (!found) {
        throw new VerificationError("E_REDACTION_MISMATCH", `Event ${seq} is named, but its payload is there.`, seq);
      }
      if (!found.isOutput) {
        throw new VerificationError("E_REDACTION_FORBIDDEN", `Event ${seq} is neither stdout nor stderr.`, seq);
      }
      if (found.commitment !== commitment) {
        const detail = `The redaction names another commitment of event ${seq}.`;
        throw new VerificationError("E_REDACTION_MISMATCH", detail, seq);
      }
      found.isRecorded = true;
    }
  }

  /** @returns {number[]} Seqs of the events that a redaction names. */
  redacted() {
    return this._having((event) => event.isRecorded);
  }

  /** @returns {number[]} Seqs of output events that no redaction names: withheld, or dropped. */
  unrecorded() {
    return this._having((event) => event.isOutput && !event.isRecorded);
  }

  /** @returns {number | undefined} The first absent event that is not output: nothing can excuse it. */
  firstIrreplaceable() {
    return this._having((event) => !event.isOutput)[0];
  }

  /** @param {(event: {isOutput: boolean, isRecorded: boolean}) => boolean} is */
  _having(is) {
    return [...this._events].filter(([, event]) => is(event)).map(([seq]) => seq);
  }
}

/** Seq and base64 commitment of each event that a `redaction` names. @param {{[key: string]: unknown}} event @returns {[number, string][]} */
function targetsOf(event) {
  const targets = event.targets;
  if (!Array.isArray(targets) || !targets.length) throw new FormatError("a redaction has a list of targets");
  return targets.map((target) => {
    const isOne = isObject(target) && Number.isInteger(target.seq) && Number(target.seq) > 0;
    if (!isOne || typeof target.commitment !== "string" || !HEX_HASH.test(target.commitment)) {
      throw new FormatError("a target of a redaction has a seq and the hex commitment of that event");
    }
    return [Number(target.seq), encodeBase64(fromHex(target.commitment))];
  });
}
