// Owns the checks, in the order in which they are made: the judgement makes them, the rows show them.
// @ts-check

/** The checks in the order in which they are made; each is noted in `findings.passed` once it holds. */
export const CHECKS = /** @type {const} */ ([
  "signature",
  "records",
  "chain",
  "payloads",
  "seal",
  "evidence",
  "output",
  "artifacts",
  "shown",
  "log",
  "times",
  "pin",
  "attestations",
]);

/** @typedef {typeof CHECKS[number]} Check */
