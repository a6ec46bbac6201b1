// The two scales of the replay bar: time since the beginning in milliseconds, or the number of the event.

/**
 * @typedef {object} Span the run as far as it is known
 * @property {number} from ms since 1970
 * @property {number} to ms since 1970
 * @property {number} lastSeq
 */

/**
 * @typedef {object} Axis
 * @property {(span: Span) => [number, number]} range least and most of the slider
 * @property {(position: {seq: number, time: number}, span: Span) => number} value where the slider stands
 * @property {(value: number, span: Span) => {seq: number} | {time: number}} place what to look for at a value
 * @property {(bucket: number, histogram: any, span: Span) => number} start where a bucket begins, 0 to 1
 */

/** @type {Record<"time" | "seq", Axis>} */
export const AXES = {
  time: {
    range: ({ from, to }) => [0, Math.max(to - from, 1)],
    value: ({ time }, { from }) => time - from,
    place: (value, { from }) => ({ time: from + value }),
    start: (bucket, { stdout }) => bucket / stdout.length,
  },
  seq: {
    range: ({ lastSeq }) => [1, Math.max(lastSeq, 2)],
    value: ({ seq }) => seq,
    place: (value) => ({ seq: value }),
    start: (bucket, { seqs }, { lastSeq }) => ((seqs[bucket] ?? lastSeq + 1) - 1) / Math.max(lastSeq, 1),
  },
};
