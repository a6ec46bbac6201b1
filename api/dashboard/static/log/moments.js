// Owns when what was there: one entry for each event, from which replay and the histogram are made.

import { Column } from "./bytes.js";
import { HISTOGRAM_BUCKETS_MAX } from "./limits.js";

/**
 * What was there right after an event.
 * @typedef {object} Position
 * @property {number} seq
 * @property {number} time ms since epoch
 * @property {number} rows rows of the log, lines and facts together
 * @property {number} lines
 * @property {number} stdoutLines
 * @property {number} stderrLines
 * @property {number} stdoutBytes
 * @property {number} stderrBytes
 */

/** The run as a list of moments, in order of seq. */
export class Moments {
  constructor() {
    this.seqs = new Column(Float64Array);
    this.times = new Column(Float64Array);
    this.rows = new Column(Uint32Array);
    this.stdoutLines = new Column(Uint32Array);
    this.stderrLines = new Column(Uint32Array);
    this.stdoutBytes = new Column(Float64Array);
    this.stderrBytes = new Column(Float64Array);
  }

  get length() {
    return this.seqs.length;
  }

  /** @param {Position} position */
  push(position) {
    this.seqs.push(position.seq);
    this.times.push(position.time);
    this.rows.push(position.rows);
    this.stdoutLines.push(position.stdoutLines);
    this.stderrLines.push(position.stderrLines);
    this.stdoutBytes.push(position.stdoutBytes);
    this.stderrBytes.push(position.stderrBytes);
  }

  /**
   * @param {number} index
   * @returns {Position}
   */
  at(index) {
    const [stdoutLines, stderrLines] = [this.stdoutLines.values[index], this.stderrLines.values[index]];
    return {
      seq: this.seqs.values[index],
      time: this.times.values[index],
      rows: this.rows.values[index],
      lines: stdoutLines + stderrLines,
      stdoutLines,
      stderrLines,
      stdoutBytes: this.stdoutBytes.values[index],
      stderrBytes: this.stderrBytes.values[index],
    };
  }

  /**
   * The last event that is not behind `seq` or `time`; before the first one there is nothing.
   * @param {{seq?: number, time?: number}} where
   * @returns {Position}
   */
  position(where) {
    const upTo = where.seq === undefined ? this.times.countUpTo(where.time ?? 0) : this.seqs.countUpTo(where.seq);
    if (upTo > 0) return this.at(upTo - 1);
    const time = this.length > 0 ? this.times.values[0] : 0;
    return { seq: 0, time, rows: 0, lines: 0, stdoutLines: 0, stderrLines: 0, stdoutBytes: 0, stderrBytes: 0 };
  }

  /**
   * Bytes of both streams in equal stretches of time.
   * @param {number} wanted how many stretches, 1 to HISTOGRAM_BUCKETS_MAX
   */
  histogram(wanted) {
    const buckets = Math.min(Math.max(1, Math.floor(wanted)), HISTOGRAM_BUCKETS_MAX);
    const [seqs, stdout, stderr] = [new Array(buckets).fill(0), new Array(buckets).fill(0), new Array(buckets).fill(0)];
    const from = this.length > 0 ? this.times.values[0] : 0;
    const to = this.length > 0 ? this.times.values[this.length - 1] : 0;
    let [out, err] = [0, 0];
    for (let index = 0; index < this.length; index += 1) {
      const share = to > from ? (this.times.values[index] - from) / (to - from) : 0;
      const bucket = Math.min(buckets - 1, Math.floor(share * buckets));
      stdout[bucket] += this.stdoutBytes.values[index] - out;
      stderr[bucket] += this.stderrBytes.values[index] - err;
      [out, err] = [this.stdoutBytes.values[index], this.stderrBytes.values[index]];
      if (seqs[bucket] === 0) seqs[bucket] = this.seqs.values[index];
    }
    for (let bucket = 1; bucket < buckets; bucket += 1) seqs[bucket] ||= seqs[bucket - 1];
    return { from, to, seqs, stdout, stderr };
  }
}
