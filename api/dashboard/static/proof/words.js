// Owns the words of a verdict: what happened, what it means, what to do next.
// @ts-check

import { counted, countOf } from "../shell/words.js";

/** @typedef {import("./report.js").Report & {hasEnded: boolean, losses: number, bytesRead: number, tookMs: number}} Report */
/** @typedef {{code: string, clause: string, seq: number | null, title: string, text: string}} Failure */

/** @type {Readonly<Record<string, (at: string) => string>>} What a code is called; `at` is "event 147", or "an event". */
const TITLES = {
  E_FORMAT: (at) => (at === "an event" ? "The record cannot be read" : `${capital(at)} cannot be read`),
  E_SIG_INVALID: () => "The signed checkpoint was changed",
  E_SIG_UNKNOWN_KEY: () => "Signed by an unknown key",
  E_KEY_RETIRED: () => "Signed by a key that no longer counts",
  E_ORIGIN_MISMATCH: () => "This is the proof of another run",
  E_RUN_MISMATCH: (at) => `${capital(at)} belongs to another run`,
  E_SEQ_GAP: (at) => `${capital(at)} is missing`,
  E_SEQ_ORDER: (at) => `${capital(at)} is not in its place`,
  E_SEQ_DUP: (at) => `${capital(at)} stands here twice`,
  E_GENESIS: () => "The record begins from another place",
  E_CHAIN_BROKEN: (at) => `${capital(at)} does not continue the one before it`,
  E_TIME_ORDER: (at) => `${capital(at)} claims to be earlier than the one before it`,
  E_TRUNCATED: () => "The end is missing",
  E_EXTRA_EVENTS: () => "There are more events than were signed",
  E_ROOT_MISMATCH: () => "The events are not those that were signed",
  E_PAYLOAD_MISMATCH: (at) => `${capital(at)} was changed`,
  E_NONCANONICAL: (at) => `${capital(at)} is spelled otherwise than events are`,
  E_HEADER_PAYLOAD_DISAGREE: (at) => `${capital(at)} contradicts its own record`,
  E_REDACTION_FORBIDDEN: (at) => `${capital(at)} was removed, which is never allowed`,
  E_REDACTION_MISMATCH: (at) => `The removal of ${at} is not the one that was recorded`,
  E_REDACTION_UNRECORDED: (at) => `The text of ${at} is missing, and nothing says so`,
  E_EVENT_AFTER_SEAL: (at) => `${capital(at)} was added after the end`,
  E_NOT_FINAL: () => "The run has ended, but its end is not here",
  E_EVIDENCE_DRIFT: () => "The evidence is not what the events say",
  E_STREAM_DIGEST: () => "The output is not what was sealed",
  E_ARTIFACT_DIGEST: () => "An artifact is not the one that was collected",
  E_INCLUSION: () => "The global log is not shown to hold this record",
  E_WITNESS_SIG: () => "The signature of a witness does not fit",
  E_WITNESS_QUORUM: () => "Fewer witnesses signed than are needed",
  E_ROLLBACK: () => "This record is older than the one checked here before",
  E_FORK: () => "This is another history than the one checked here before",
  E_DSSE_SIG: () => "An attestation is not signed as it should be",
  E_ATTESTATION_SUBJECT: () => "An attestation is about something else",
  E_ATTESTATION_RESULT: () => "An attestation says other things than this run shows",
};

/** What is wrong, null where nothing is. @param {Report} report @returns {Failure | null} */
export function failureOf(report) {
  if (report.code !== null) return judgedFailure(report, report.code);
  if (report.hasEnded && report.verdict === "OPEN_PREFIX") return olderFailure();
  if (report.served.other) return servedFailure(report.served.other);
  if (!report.strangers.length) return null;
  const text = `This browser remembers other keys of this server. ${report.strangers.join(" and ")} signed this record, and no older key vouches for that.`;
  return { code: "E_SIG_UNKNOWN_KEY", clause: "P6", seq: null, title: "Signed by another key than before", text };
}

/** @param {Report} report @param {string} code @returns {Failure} */
function judgedFailure({ clause, seq, meaning, served }, code) {
  const title = TITLES[code](seq === null ? "an event" : `event ${counted(seq)}`);
  if (code !== "E_PAYLOAD_MISMATCH") return { code, clause: clause ?? "", seq, title, text: meaning };
  const log = served.onlyHere === seq ? " The log of this page was sent as it was recorded; the proof was not." : "";
  return { code, clause: clause ?? "", seq, title, text: `Its text is not the text that was recorded.${log}` };
}

/** An older state of the run, signed while it was open, in place of its whole record. @returns {Failure} */
function olderFailure() {
  const text = "This page shows a run that is sealed. What was sent as its record stops before the seal.";
  return { code: "E_NOT_FINAL", clause: "P4", seq: null, title: TITLES.E_NOT_FINAL(""), text };
}

/** @param {NonNullable<Report["served"]["other"]>} other @returns {Failure} */
function servedFailure({ seq, how }) {
  const [title, text] = {
    changed: [
      `Event ${counted(seq)} is changed in the log that is sent`,
      "The proof holds the text that was recorded. The log of this run sends another one.",
    ],
    missing: [
      `Event ${counted(seq)} is missing from the log that is sent`,
      "The proof holds it. The log of this run ends before it.",
    ],
    added: [
      `The log that is sent goes on after event ${counted(seq - 1)}`,
      "The proof ends there, with its seal. What follows in the log was never recorded.",
    ],
  }[how];
  return { code: "E_PAYLOAD_MISMATCH", clause: "P1.1", seq, title, text };
}

/** @typedef {"verified" | "redacted" | "open" | "failed"} State */

/** @param {Report} report @param {Failure | null} failure @returns {State} */
export function stateOf({ verdict }, failure) {
  if (failure !== null) return "failed";
  if (verdict === "OPEN_PREFIX") return "open";
  return verdict === "REDACTED" ? "redacted" : "verified";
}

/** What holds, as a title and a sentence. @param {Report} report @param {State} state @returns {[title: string, text: string]} */
export function heldWords(report, state) {
  const { size, sealSeq, redactedCount } = report;
  if (state === "open") {
    return [
      `Whole up to event ${counted(size)}`,
      "Every event so far is as recorded. No seal yet, so an end that was cut off could not be seen.",
    ];
  }
  if (state === "redacted") return [`Verified, with ${countOf(redactedCount, "event")} redacted`, redactedWords(report)];
  const sentence = `All ${counted((sealSeq ?? size) - 1)} events and the seal are as recorded.`;
  if (report.log?.cosigned.length) return ["Verified in this browser", sentence];
  return [
    "Verified, without a witness",
    `${sentence} Signed by this server’s key only. Whoever holds that key could write another history and sign it too.`,
  ];
}

/** @param {Report} report */
function redactedWords({ matched, redacted, redactedCount, redaction }) {
  const more = redactedCount > redacted.length ? ` and ${counted(redactedCount - redacted.length)} more` : "";
  const which = `${redactedCount === 1 ? "event" : "events"} ${redacted.map(counted).join(", ")}${more}`;
  const by = redaction ? ` by ${redaction.actor}, reason “${redaction.reason}”` : "";
  return `${counted(matched)} of ${counted(matched + redactedCount)} payloads are as recorded. The text of ${which} was removed${by}. The removal is part of the record.`;
}

/** What a failure leaves standing; null where that is nothing. @param {Report} report @param {Failure} failure */
export function stillHolds(report, failure) {
  if (failure.code === "E_SIG_UNKNOWN_KEY" || !report.passed.includes("signature")) return null;
  if (!report.passed.includes("chain")) {
    const whole = report.done;
    return whole
      ? `The order and time of events 1 to ${counted(whole)}, if nothing else was rewritten with them: the signature covers all ${counted(report.size)}, so it does not vouch for a part.`
      : null;
  }
  if (report.changedCount) {
    return `The order, number and time of all ${counted(report.size)} records, and the text of the other ${counted(report.matched)}.`;
  }
  return `The order, number and time of all ${counted(report.size)} records.`;
}

/** What a failure does not show. @param {Failure} failure @returns {string[]} */
export function failureLimits({ code, seq }) {
  const what = seq === null ? "what it said before" : `what event ${counted(seq)} said before`;
  const lost = ["E_PAYLOAD_MISMATCH", "E_SEQ_GAP", "E_TRUNCATED", "E_CHAIN_BROKEN", "E_ROOT_MISMATCH"].includes(code)
    ? [what]
    : [];
  return [
    ...lost,
    "who changed it, or when",
    "whether it was done on purpose, by a failing disk, or on the way to this browser",
  ];
}

/** @param {string} text */
const capital = (text) => text[0].toUpperCase() + text.slice(1);
