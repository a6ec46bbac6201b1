// Owns the second pass of judgement over a stream: what each payload says (PROOF P9.1, P9.4).
//
// It runs beside the chain, so that a stream is read once; but what it finds is told only after the chain was
// judged whole. Hence it keeps the first complaint of each stage, told in the order of P9.1.
// @ts-check

import { FormatError, decodeAscii, decodeBase64, decodeLossy, decodeUtf8, encodeBase64 } from "./bytes.js";
import { AbsentPayloads, OUTPUT_EVENT_BYTES_MAX, OUTPUT_TYPES } from "./absent.js";
import { RunFold, StreamDigests, rawBytes } from "./fold.js";
import { ProfileError, decodeCanonical } from "./json.js";
import { SALT_BYTES } from "./record.js";
import { VerificationError } from "./verdict.js";

/** @typedef {import("./chain.js").Header} Header */
/** @typedef {import("./fold.js").Event} Event */
/** @typedef {{salt: Uint8Array, payload: Uint8Array}} Opened */

const RUN_PREFIX = "wsr_";
const KEPT_BYTES_MAX = 16 * 1024 * 1024;
/** Changed events that are listed by number. */
const CHANGED_MAX = 100;
const SEAL_FIELDS = [
  "evidenceSha256",
  "projection",
  "lastPublicSeq",
  "stdoutBytes",
  "stdoutSha256",
  "stderrBytes",
  "stderrSha256",
];

/** The order in which complaints about payloads are told (P9.1). */
export const STAGES = /** @type {const} */ (["payload", "redaction", "seal", "output"]);

/** Checks payloads one after the other and remembers what the end of the stream is judged by. */
export class Contents {
  /** @param {string} stream */
  constructor(stream) {
    this.isRun = stream.startsWith(RUN_PREFIX);
    this.fold = new RunFold();
    this.digests = new StreamDigests();
    this.absent = new AbsentPayloads();
    /** @type {Event | null} */
    this.seal = null;
    /** @type {number | null} */
    this.sealSeq = null;
    /** @type {Event | null} */
    this.terminal = null;
    /** @type {number | null} */
    this.terminalSeq = null;
    /** Recorded sha256 and size of each collected artifact, by id. @type {Map<unknown, {sha256: unknown, sizeBytes: unknown}>} */
    this.artifacts = new Map();
    /** Payloads whose commitment was computed again and is the recorded one. */
    this.matched = 0;
    /** Seqs of the first events whose payload does not fit its commitment, and their number. @type {number[]} */
    this.changed = [];
    this.changedCount = 0;
    /** The first of them. @type {{header: Header, computed: string} | null} */
    this.firstChanged = null;
    /** @type {{reason: unknown, actor: unknown, createdAt: unknown}[]} */
    this.redactions = [];
    this._stream = stream;
    /** @type {number | null} */
    this._outcomeSeq = null;
    this._keptBytes = 0;
    /** @type {Map<string, VerificationError>} */
    this._complaints = new Map();
  }

  /**
   * Take what the ninth line of a record holds.
   * @param {Header} header @param {Opened | null} opened null where the payload is absent.
   * @param {Uint8Array | null} commitment Computed from salt and payload.
   */
  add(header, opened, commitment) {
    this._notePlace(header);
    if (opened === null || commitment === null) {
      this.absent.add(header);
      return;
    }
    this._compare(header, encodeBase64(commitment));
    if (this._complaints.has("payload")) return; // after a payload that cannot be believed only records go on being checked
    try {
      this._take(header, readEvent(this._stream, header, opened.payload));
    } catch (error) {
      if (error instanceof VerificationError) this._keep("payload", error);
      else if (error instanceof FormatError)
        this._complain("payload", "E_FORMAT", `Event ${header.seq}: ${error.message}.`, header.seq);
      else throw error;
    }
  }

  /** Tell what was found in this stage, if anything was. @param {typeof STAGES[number]} stage */
  raiseComplaint(stage) {
    const complaint = this._complaints.get(stage);
    if (complaint) throw complaint;
  }

  /** @param {Header} header @param {string} computed */
  _compare(header, computed) {
    if (computed === header.commitment) {
      this.matched += 1;
      return;
    }
    this.changedCount += 1;
    if (this.changed.length < CHANGED_MAX) this.changed.push(header.seq);
    this.firstChanged ??= { header, computed };
    this._complain("payload", "E_PAYLOAD_MISMATCH", `Look at event ${header.seq}.`, header.seq);
  }

  /** What the types alone say: `outcome`, `terminal` and `seal` end a run; only redactions follow. @param {Header} header */
  _notePlace({ seq, type }) {
    if (type === "redaction" || !this.isRun) return;
    if (type === "seal" && this.sealSeq === null) {
      this.sealSeq = seq;
      if (this.terminalSeq !== seq - 1) {
        this._complain("seal", "E_NOT_FINAL", `Event ${seq - 1}, directly before the seal, is not terminal.`, seq);
      }
    } else if (this.terminalSeq !== null) {
      this._complain("seal", "E_EVENT_AFTER_SEAL", `Event ${seq} is ${type}.`, seq);
    } else if (type === "terminal") {
      this.terminalSeq = seq;
      if (this._outcomeSeq !== seq - 1) {
        this._complain("seal", "E_NOT_FINAL", `Event ${seq - 1}, directly before terminal, is not outcome.`, seq);
      }
    } else if (this._outcomeSeq !== null) {
      this._complain("seal", "E_EVENT_AFTER_SEAL", `Event ${seq} is ${type}.`, seq);
    } else if (type === "outcome") {
      this._outcomeSeq = seq;
    }
  }

  /** Fold the event and remember what it says about the end. @param {Header} header @param {Event} event */
  _take(header, event) {
    const { type } = header;
    if (this.isRun && OUTPUT_TYPES.has(type)) this._takeOutput(header, event);
    else if (this.isRun) this.fold.apply(event);
    if (type === "redaction") this._takeRedaction(event);
    else if (type === "seal") this._takeSeal(event);
    else if (type === "terminal") this.terminal = event;
    else if (type === "artifact_collected" || type === "artifact_error") this._takeArtifact(header, event);
  }

  /** @param {Header} header @param {Event} event */
  _takeOutput(header, event) {
    const raw = rawBytes(event);
    if (raw.length > OUTPUT_EVENT_BYTES_MAX) {
      throw new FormatError(`an output event holds at most ${OUTPUT_EVENT_BYTES_MAX} bytes`);
    }
    this.digests.feed(header.type, raw);
    this.fold.addOutput(header.type, raw.length);
    if (Object.hasOwn(event, "dataBase64") && !isShownRightly(raw, event.data)) {
      const detail = `Event ${header.seq}: its data is not the text of its dataBase64.`;
      this._complain("output", "E_STREAM_DIGEST", detail, header.seq);
    }
  }

  /** @param {Event} event */
  _takeRedaction(event) {
    try {
      this.absent.record(event);
      this.redactions.push({ reason: event.reason, actor: event.actor, createdAt: event.createdAt });
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error;
      this._keep("redaction", error);
    }
  }

  /** @param {Event} event */
  _takeSeal(event) {
    if (!this.isRun) throw new FormatError("the stream of an organisation has no seal");
    const missing = SEAL_FIELDS.filter((name) => !Object.hasOwn(event, name));
    if (missing.length) throw new FormatError(`the seal lacks ${missing.join(", ")}`);
    if (event.lastPublicSeq !== event.seq - 1) {
      const detail = `Event ${event.seq}: a seal's seq is lastPublicSeq + 1.`;
      throw new VerificationError("E_HEADER_PAYLOAD_DISAGREE", detail, event.seq);
    }
    this.seal = event;
  }

  /** @param {Header} header @param {Event} event */
  _takeArtifact(header, event) {
    this._keptBytes += header.payloadSize;
    if (this._keptBytes > KEPT_BYTES_MAX) {
      throw new FormatError(`its artifact events hold more than ${KEPT_BYTES_MAX} bytes`);
    }
    const { artifactId, sha256, sizeBytes } = event;
    if (typeof artifactId !== "string") return;
    // Contents are judged by id; of one that was collected twice none can be the right one.
    const isTwice = this.artifacts.has(artifactId);
    this.artifacts.set(artifactId, isTwice ? { sha256: null, sizeBytes: null } : { sha256, sizeBytes });
  }

  /** @param {typeof STAGES[number]} stage @param {string} code @param {string} detail @param {number} seq */
  _complain(stage, code, detail, seq) {
    this._keep(stage, new VerificationError(code, detail, seq));
  }

  /** @param {typeof STAGES[number]} stage @param {VerificationError} error */
  _keep(stage, error) {
    if (!this._complaints.has(stage)) this._complaints.set(stage, error);
  }
}

/**
 * The payload as an event, its spelling and its own header checked; its commitment was compared before (P2.1a).
 * @param {string} stream @param {Header} header @param {Uint8Array} payload @returns {Event}
 */
function readEvent(stream, header, payload) {
  const { seq } = header;
  const isRun = stream.startsWith(RUN_PREFIX);
  const event = decoded(payload, seq);
  const says = event.type === header.type && event.seq === seq && event.createdAt === header.createdAt;
  if (!says || payload.length !== header.payloadSize) {
    const detail = `Event ${seq}: its type, seq, createdAt or size is not that of its record.`;
    throw new VerificationError("E_HEADER_PAYLOAD_DISAGREE", detail, seq);
  }
  if (seq === 1 && event[isRun ? "runId" : "orgId"] !== stream) {
    const detail = "Event 1 names another run or organisation than its record.";
    throw new VerificationError("E_HEADER_PAYLOAD_DISAGREE", detail, seq);
  }
  if (seq > 1 && isRun && event.status === "awaiting_archive") {
    // The fold would take over the run that it names, and show that one's evidence under our id.
    throw new VerificationError("E_RUN_MISMATCH", `Event ${seq} begins a run, as event 1 did.`, seq);
  }
  return event;
}

/** @param {Uint8Array} payload @param {number} seq @returns {Event} */
function decoded(payload, seq) {
  try {
    return decodeCanonical(payload);
  } catch (error) {
    if (error instanceof ProfileError)
      throw new VerificationError("E_NONCANONICAL", `Event ${seq}: ${error.message}.`, seq);
    throw error;
  }
}

const LF = 0x0a;
const SALT_AT = 2;
const SALT_CHARS = 24;

/**
 * Salt and payload of a ninth line with its LF, null for an absent payload.
 * @param {Uint8Array} line @returns {Opened | null} Throws `FormatError`.
 */
export function openPayloadLine(line) {
  if (line.length === 2 && line[0] === 0x2d && line[1] === LF) return null;
  const payloadAt = SALT_AT + SALT_CHARS + 1;
  const isLine = line[0] === 0x2b && line[1] === 0x20 && line[payloadAt - 1] === 0x20 && line[line.length - 1] === LF;
  if (!isLine || line.length <= payloadAt) {
    throw new FormatError("it is neither '-' nor '+ <base64 salt> <payload>', or is too long");
  }
  const salt = decodeBase64(decodeAscii(line.subarray(SALT_AT, SALT_AT + SALT_CHARS)));
  if (salt.length !== SALT_BYTES) throw new FormatError(`a salt has ${SALT_BYTES} bytes`);
  return { salt, payload: line.subarray(payloadAt, -1) };
}

/** Are bytes that are no UTF-8 shown as what decoding makes of them (P1.3)? @param {Uint8Array} raw @param {unknown} data */
function isShownRightly(raw, data) {
  try {
    decodeUtf8(raw);
  } catch {
    return decodeLossy(raw) === data;
  }
  return false;
}
