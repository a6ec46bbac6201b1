// Owns comparing the events as the log is served with those of the proof, side by side while both come in (P1.1).
// @ts-check

import { concat, equalBytes } from "./bytes.js";
import { parseJson, isObject } from "./json.js";

/** @typedef {import("./judgement.js").Judged} Judged */

const INTERNAL = new Set(["seal", "redaction"]);
const LINE_BYTES_MAX = 1024 * 1024;
const LF = 0x0a;

/** The lines of `GET …/events` in NDJSON, pulled one by one. */
class Lines {
  /** @param {ReadableStream<Uint8Array>} stream */
  constructor(stream) {
    this._reader = stream.getReader();
    this._rest = new Uint8Array();
  }

  /** The next line without its LF; null at the end. */
  async next() {
    let from = 0;
    for (;;) {
      const end = this._rest.indexOf(LF, from);
      if (end >= 0) {
        const line = this._rest.subarray(0, end);
        this._rest = this._rest.subarray(end + 1);
        return line;
      }
      from = this._rest.length;
      if (from > LINE_BYTES_MAX) return this._rest;
      const { done, value } = await this._reader.read();
      if (done) return null;
      this._rest = from ? concat(this._rest, value) : value;
    }
  }
}

/** Whether the log is served as it was recorded. */
export class ServedLog {
  /** @param {ReadableStream<Uint8Array>} stream */
  constructor(stream) {
    this._lines = new Lines(stream);
    /** Events that were compared and are the same. */
    this.same = 0;
    /** The first that is served otherwise. @type {{seq: number, type: string, createdAt: string, isMissing: boolean} | null} */
    this.other = null;
  }

  /** @param {Judged[]} events The next ones of the proof. */
  async compare(events) {
    for (const { header, payload } of events) {
      if (INTERNAL.has(header.type)) continue;
      if (this.other) return;
      const line = await this._lines.next();
      if (line !== null && (payload ? equalBytes(line, payload) : isPlaceholder(line, header))) {
        this.same += 1;
      } else {
        const { seq, type, createdAt } = header;
        this.other = { seq, type, createdAt, isMissing: line === null };
      }
    }
  }
}

/** What stands in the log where a payload was erased: nothing but its place (P7). @param {Uint8Array} line @param {Judged["header"]} header */
function isPlaceholder(line, header) {
  try {
    const shown = parseJson(line);
    if (!isObject(shown) || shown.redacted !== true || shown.data !== "") return false;
    return shown.type === header.type && shown.seq === header.seq && shown.createdAt === header.createdAt;
  } catch {
    return false;
  }
}
