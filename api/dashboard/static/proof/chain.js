// Owns the first pass of judgement over a stream: records, their order, their chain, count and root (PROOF P9.1).
// Whatever breaks here is blamed on the first bad record; nothing after it can be trusted (P9.6).
// @ts-check

import { FormatError, encodeBase64, equalBytes, parseHash } from "./bytes.js";
import { CompactRange } from "./merkle.js";
import { SCHEMA, TYPE, genesis, parseDecimal, parseRecord, parseTime } from "./record.js";
import { VerificationError } from "./verdict.js";

/** @typedef {{seq: number, type: string, createdAt: string, payloadSize: number, commitment: string}} Header */

/** Checks records one after the other against a checkpoint that was verified before. */
export class Chain {
  /** @param {string} stream @param {import("./checkpoint.js").Checkpoint} checkpoint @param {Uint8Array} genesisHash */
  constructor(stream, checkpoint, genesisHash) {
    this.size = 0;
    this.firstCreatedAt = "";
    this.createdAt = "";
    this.tree = new CompactRange();
    this._stream = stream;
    this._checkpoint = checkpoint;
    this._prev = encodeBase64(genesisHash);
    /** @type {number | null} */
    this._skippedTo = null;
  }

  /** @param {string} stream @param {import("./checkpoint.js").Checkpoint} checkpoint @param {Uint8Array} anchor */
  static async start(stream, checkpoint, anchor) {
    return new Chain(stream, checkpoint, await genesis(stream, anchor));
  }

  /**
   * Check the eight lines of the next record, each with its LF, and take its leaf.
   * @param {string[]} lines @param {Uint8Array} leaf
   * @returns {Header | null} null while it waits for the next record to tell a gap from a swap.
   */
  add(lines, leaf) {
    const seq = this.size + 1;
    if (lines[0] !== `${SCHEMA}\n` || lines[1] !== `${this._stream}\n` || lines[2] !== `${seq}\n` || this._skippedTo) {
      this._blame(lines, seq);
      return null;
    }
    if (lines[7] !== `${this._prev}\n`) this._blameLink(lines, seq);
    const header = readable(() => headerOf(lines, seq), `Event ${seq}`, seq);
    if (header.createdAt < this.createdAt) {
      throw new VerificationError(
        "E_TIME_ORDER",
        `Event ${seq} says ${header.createdAt}, after ${this.createdAt}.`,
        seq,
      );
    }
    if (seq > this._checkpoint.size) {
      throw new VerificationError("E_EXTRA_EVENTS", `${this._checkpoint.size} were signed; event ${seq} was not.`, seq);
    }
    this.tree.append(leaf);
    this._prev = encodeBase64(leaf);
    this.firstCreatedAt ||= header.createdAt;
    this.createdAt = header.createdAt;
    this.size = seq;
    return header;
  }

  /** Compare the number of records with what was signed. */
  finishCount() {
    if (this._skippedTo) throw this._gap(this._skippedTo);
    const signed = this._checkpoint;
    if (this.size < signed.size) {
      throw new VerificationError("E_TRUNCATED", `${signed.size} were signed, ${this.size} are here.`, this.size + 1);
    }
  }

  /** Compare their root with what was signed. */
  finishRoot() {
    const signed = this._checkpoint;
    const root = this.tree.root();
    if (!equalBytes(root, signed.root)) {
      throw new VerificationError(
        "E_ROOT_MISMATCH",
        `Signed: ${encodeBase64(signed.root)}; computed: ${encodeBase64(root)}.`,
      );
    }
  }

  /** Name what is wrong with the place of a record (P9.6). @param {string[]} lines @param {number} expected */
  _blame(lines, expected) {
    const record = readable(() => parseRecord(lines.map(withoutLf)), `Record ${expected}`, expected);
    if (record.stream !== this._stream) {
      const detail = `Where event ${expected} should be stands one of ${record.stream}.`;
      throw new VerificationError("E_RUN_MISMATCH", detail, expected);
    }
    if (this._skippedTo) {
      if (record.seq === expected) {
        const detail = `Event ${this._skippedTo} stands before event ${expected}.`;
        throw new VerificationError("E_SEQ_ORDER", detail, expected);
      }
      throw this._gap(this._skippedTo);
    }
    if (record.seq === expected - 1 && record.seq > 0) {
      throw new VerificationError("E_SEQ_DUP", `Event ${record.seq} stands here twice.`, record.seq);
    }
    if (record.seq < expected) {
      const detail = `Event ${record.seq} stands where event ${expected} should.`;
      throw new VerificationError("E_SEQ_ORDER", detail, expected);
    }
    this._skippedTo = record.seq;
  }

  /** @param {string[]} lines @param {number} seq */
  _blameLink(lines, seq) {
    readable(() => parseHash(withoutLf(lines[7])), `Event ${seq}, line 8`, seq);
    if (seq === 1) throw new VerificationError("E_GENESIS", "Its run id or anchor was exchanged.", seq);
    throw new VerificationError("E_CHAIN_BROKEN", `Event ${seq} was made after another event ${seq - 1}.`, seq);
  }

  /** @param {number} found */
  _gap(found) {
    const missing = this.size + 1;
    return new VerificationError("E_SEQ_GAP", `Event ${found} follows event ${missing - 1}.`, missing);
  }
}

/** The lines of a record that its place does not determine. @param {string[]} lines @param {number} seq @returns {Header} */
function headerOf(lines, seq) {
  const [type, createdAt, size, commitment] = lines.slice(3, 7).map(withoutLf);
  if (!TYPE.test(type)) throw new FormatError("its type is not 1 to 32 of a-z and _");
  parseTime(createdAt);
  parseHash(commitment);
  return { seq, type, createdAt, payloadSize: parseDecimal(size), commitment };
}

/** @param {string} line */
function withoutLf(line) {
  if (!line.endsWith("\n")) throw new FormatError("a line does not end with LF, or is too long");
  return line.slice(0, -1);
}

/**
 * What reading answers; what cannot be read is E_FORMAT at this event.
 * @template T @param {() => T} read @param {string} what @param {number} seq @returns {T}
 */
export function readable(read, what, seq) {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new VerificationError("E_FORMAT", `${what}: ${error.message}.`, seq);
  }
}
