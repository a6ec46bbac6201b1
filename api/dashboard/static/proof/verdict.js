// Owns what a verification says: codes with their clauses (PROOF P10), and how one fails.
// @ts-check

export const COMPLETE = "COMPLETE";
export const OPEN_PREFIX = "OPEN_PREFIX";
export const REDACTED = "REDACTED";
export const WITHHELD = "WITHHELD";
export const FAILED = "FAILED";

/** @type {Readonly<Record<string, [clause: string, meaning: string]>>} */
export const CODES = {
  E_FORMAT: ["P9.3", "Something cannot be read, or is not in its one spelling."],
  E_SIG_INVALID: ["P4.3", "The checkpoint was changed after it was signed."],
  E_SIG_UNKNOWN_KEY: ["P6", "The checkpoint is signed by a key that the policy does not name."],
  E_KEY_RETIRED: ["P6", "The signing key had been retired."],
  E_ORIGIN_MISMATCH: ["P4.3", "The proof is of another run or another server."],
  E_RUN_MISMATCH: ["P2.1a", "An event belongs to another run."],
  E_SEQ_GAP: ["P2.1", "An event is missing."],
  E_SEQ_ORDER: ["P2.1", "Events stand in another order than they were recorded."],
  E_SEQ_DUP: ["P2.1", "An event stands here twice."],
  E_GENESIS: ["P2.3", "The first event does not start from this run and this anchor."],
  E_CHAIN_BROKEN: ["P2.4", "An event does not continue the one before it: one of them was edited."],
  E_TIME_ORDER: ["P2.1", "An event claims to be earlier than the one before it."],
  E_TRUNCATED: ["P4.3", "Events are missing at the end."],
  E_EXTRA_EVENTS: ["P4.3", "There are more events than were signed."],
  E_ROOT_MISMATCH: ["P3.1", "The events are not those whose root was signed."],
  E_PAYLOAD_MISMATCH: ["P2", "An event's payload or salt was changed."],
  E_NONCANONICAL: ["P1.2", "A payload is not in the one spelling that events have."],
  E_HEADER_PAYLOAD_DISAGREE: ["P2.1a", "An event's record and its payload say different things."],
  E_REDACTION_FORBIDDEN: ["P7", "An event was redacted that is never redacted."],
  E_REDACTION_MISMATCH: ["P7", "Another event is missing its payload than the redaction names."],
  E_REDACTION_UNRECORDED: ["P7", "A payload is missing and no redaction says so."],
  E_EVENT_AFTER_SEAL: ["P4.1", "Something was appended after the run had ended."],
  E_NOT_FINAL: ["P4.2", "The run ended, but this prefix of it does not hold its end."],
  E_EVIDENCE_DRIFT: ["P12", "The evidence is not what the events say."],
  E_STREAM_DIGEST: ["P1.3", "The output is not what the seal or its own bytes say."],
  E_ARTIFACT_DIGEST: ["P8", "An artifact is not the one that was collected."],
  E_INCLUSION: ["P5.3", "The global log is not shown to hold this checkpoint."],
  E_WITNESS_SIG: ["P9.3", "A cosignature of a witness of the policy does not fit."],
  E_WITNESS_QUORUM: ["P6", "Fewer witnesses cosigned than the policy demands."],
  E_TIME_BEFORE_ANCHOR: ["P9.2b", "An event claims to be earlier than the run can have begun."],
  E_TIME_AFTER_WITNESS: ["P9.2b", "An event claims to be later than it was witnessed."],
  E_ROLLBACK: ["P9.1", "The proof is older than the checkpoint that was pinned."],
  E_FORK: ["P9.1", "The history differs from the one that was pinned."],
  E_DSSE_SIG: ["P11", "An attestation is not signed by a key that the policy trusts for it."],
  E_ATTESTATION_SUBJECT: ["P11", "An attestation is about something else than this run."],
  E_ATTESTATION_RESULT: ["P11", "An attestation says other things than this run shows."],
};

/** A check failed. `detail` completes the code's meaning; `seq` is the event to look at, if one. */
export class VerificationError extends Error {
  /** @param {string} code @param {string} detail @param {number | null} [seq] */
  constructor(code, detail, seq = null) {
    super(`${CODES[code][1]} ${detail}`);
    this.code = code;
    this.detail = detail;
    this.seq = seq;
    this.clause = CODES[code][0];
  }
}
