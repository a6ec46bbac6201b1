// Owns comparing the events as the log is served with those of the proof, side by side while both come in (P1.1).
// @ts-check

import { concat, encodeBase64, equalBytes } from "./bytes.js";
import { isObject, parseJson } from "./json.js";
import { commitment } from "./record.js";

/** @typedef {import("./judgement.js").Judged} Judged */
/** @typedef {{seq: number, type: string, createdAt: string, how: "changed" | "missing" | "added"}} Other */

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

  /** The next line without its LF; null at the end. What stands there without one is a line too. */
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
      if (done) {
        const last = this._rest;
        this._rest = new Uint8Array();
        return last.length ? last : null;
      }
      this._rest = from ? concat(this._rest, value) : value;
    }
  }
}

/** Whether the log is served as it was recorded. */
export class ServedLog {
  /** @param {ReadableStream<Uint8Array>} stream */
  constructor(stream) {
    this._lines = new Lines(stream);
    /** Events that the log sends as they were recorded. */
    this.same = 0;
    /** The first that it sends so while the proof does not. @type {number | null} */
    this.onlyHere = null;
    /** The first that it sends otherwise. @type {Other | null} */
    this.other = null;
  }

  /** @param {Judged[]} events The next ones of the proof. */
  async compare(events) {
    for (const { header, opened } of events) {
      if (header.type === "seal") await this.finish(header);
      if (INTERNAL.has(header.type)) continue;
      if (this.other) return;
      const line = await this._lines.next();
      if (line !== null && (opened ? equalBytes(line, opened.payload) : isPlaceholder(line, header))) {
        this.same += 1;
      } else {
        await this._judge(header, opened, line);
      }
    }
  }

  /** The run is sealed: nothing may follow its last public event. @param {Judged["header"]} seal */
  async finish({ seq, createdAt }) {
    if (!this.other && (await this._lines.next()) !== null) this.other = { seq, type: "log", createdAt, how: "added" };
  }

  /**
   * Log and proof differ: the commitment says which of them is right, or that none is.
   * @param {Judged["header"]} header @param {Judged["opened"]} opened @param {Uint8Array | null} line
   */
  async _judge({ seq, type, createdAt, commitment: recorded }, opened, line) {
    const fits = async (/** @type {Uint8Array} */ payload) =>
      opened !== null && encodeBase64(await commitment(opened.salt, payload)) === recorded;
    if (line !== null && (await fits(line))) {
      this.same += 1;
      this.onlyHere ??= seq;
    } else if (line === null || opened === null || (await fits(opened.payload))) {
      this.other = { seq, type, createdAt, how: line === null ? "missing" : "changed" };
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
