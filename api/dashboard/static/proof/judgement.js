// Owns the order in which a stream is judged, from the signed note to the pin (PROOF P9.1).
// Every method throws `VerificationError` at the first thing that does not hold; what was learned stands in `findings`.
// @ts-check

import { FormatError, equalBytes } from "./bytes.js";
import { Chain } from "./chain.js";
import { parseCheckpoint, splitOrigin } from "./checkpoint.js";
import { Contents, openPayloadLine } from "./contents.js";
import {
  judgeArtifact,
  judgeAttestation,
  judgeAttestedMembers,
  judgeEvidence,
  judgeOutput,
  judgeRedactions,
  judgeSeal,
  judgeShownEvidence,
} from "./ending.js";
import { BadSignature, UnknownKey, areInOrder, openNote, splitNote } from "./note.js";
import { commitment, leafHash, parseTime } from "./record.js";
import { judgeInclusion, notAfter, notBefore, openLogCheckpoint } from "./tlog.js";
import { VerificationError } from "./verdict.js";

/** @typedef {import("./checks.js").Check} Check */
/** @typedef {import("./checkpoint.js").Checkpoint} Checkpoint */
/** @typedef {import("./note.js").Verifier} Verifier */
/** @typedef {import("./policy.js").Policy} Policy */
/** @typedef {import("./tlog.js").LogCheckpoint & {index: number}} Logged */
/** An accepted record, and what stands beside it; null where the payload is absent. */
/** @typedef {{header: import("./chain.js").Header, opened: import("./contents.js").Opened | null}} Judged */

/**
 * What is expected and allowed (P9.2).
 * @typedef {{expectedRun?: string, allowOpen?: boolean, allowWithheld?: boolean, allowUnlogged?: boolean,
 *   allowUnattested?: boolean, strictTime?: boolean, pin?: Checkpoint | null}} Options
 */

/**
 * The rest of a bundle, once its events are read.
 * @typedef {{evidence: Uint8Array | null, tlogProof: Uint8Array | null, attestations: Map<string, Uint8Array>,
 *   artifacts: {id: string, sha256: string, sizeBytes: number}[], shown: Uint8Array | null}} Rest
 */

/** How far an honest server's clock may be off (P9.2b). */
const TIME_SKEW_MS_MAX = 5 * 60 * 1000;

/** What a verification has learned so far. */
export class Findings {
  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    /** @type {Set<Check>} */
    this.passed = new Set();
    /** @type {string | null} */
    this.stream = null;
    this.origin = "";
    /** @type {Checkpoint | null} */
    this.checkpoint = null;
    /** @type {Verifier[]} */
    this.signers = [];
    /** @type {Contents | null} */
    this.contents = null;
    /** @type {Chain | null} */
    this.chain = null;
    /** @type {Policy | null} */
    this.policy = null;
    /** @type {string[]} */
    this.artifactsShown = [];
    /** @type {Logged | null} */
    this.log = null;
    /** @type {Map<string, Verifier>} */
    this.attested = new Map();
    /** @type {number | null} */
    this.notBeforeMs = null;
    /** @type {number | null} */
    this.notAfterMs = null;
    /** @type {string[]} */
    this.warnings = [];
  }
}

/** One stream before the judge. */
export class Judgement {
  /** @param {Findings} findings @param {Policy} policy @param {Uint8Array} note @param {Uint8Array} anchor */
  static async begin(findings, policy, note, anchor) {
    const judgement = new Judgement(findings, policy, note, anchor);
    await judgement._open();
    return judgement;
  }

  /** @param {Findings} findings @param {Policy} policy @param {Uint8Array} note @param {Uint8Array} anchor */
  constructor(findings, policy, note, anchor) {
    this._findings = findings;
    this._policy = policy;
    this._note = note;
    this._anchor = anchor;
    this._rootAtPin = new Uint8Array();
  }

  get chain() {
    return /** @type {Chain} */ (this._findings.chain);
  }

  get contents() {
    return /** @type {Contents} */ (this._findings.contents);
  }

  get checkpoint() {
    return /** @type {Checkpoint} */ (this._findings.checkpoint);
  }

  async _open() {
    const findings = this._findings;
    const { text, verified } = await openRunCheckpoint(this._note, this._policy);
    const { checkpoint, origin, stream } = readRunCheckpoint(text);
    Object.assign(findings, { signers: verified, checkpoint, origin, stream });
    if (verified.some((key) => key.name !== origin)) {
      throw new VerificationError("E_ORIGIN_MISMATCH", `It names ${origin}; its key is of another origin.`);
    }
    const expected = findings.options.expectedRun ?? stream;
    if (expected !== stream)
      throw new VerificationError("E_ORIGIN_MISMATCH", `It is of ${stream}; expected was ${expected}.`);
    checkAnchor(this._anchor);
    findings.chain = await Chain.start(stream, checkpoint, this._anchor);
    findings.contents = new Contents(stream);
    findings.passed.add("signature");
  }

  /** Judge the next events: their records at once, their payloads when the records were judged whole. @param {import("./bundle.js").Entry[]} entries @returns {Promise<Judged[]>} */
  async add(entries) {
    const lasts = entries.map(({ last }) => openedLine(last));
    const commitments = await Promise.all(
      lasts.map((opened) => ("payload" in opened ? commitment(opened.salt, opened.payload) : null)),
    );
    const { pin } = this._findings.options;
    /** @type {Judged[]} */
    const judged = [];
    for (const [at, { lines, record }] of entries.entries()) {
      const header = this.chain.add(lines, leafHash(record));
      if (header === null) continue;
      const opened = lasts[at];
      if ("error" in opened)
        throw new VerificationError("E_FORMAT", `Event ${header.seq}, line 9: ${opened.error}.`, header.seq);
      const held = "payload" in opened ? opened : null;
      this.contents.add(header, held, commitments[at]);
      judged.push({ header, opened: held });
      if (pin && header.seq === pin.size) {
        this._rootAtPin = this.chain.tree.root();
      }
    }
    return judged;
  }

  /** Judge what only the whole stream tells, in the order of P9.1. @param {Rest} rest */
  async finish({ evidence, tlogProof, attestations, artifacts, shown }) {
    const { contents } = this;
    const { options } = this._findings;
    this.chain.finishCount();
    this._pass("records");
    this.chain.finishRoot();
    this._pass("chain");
    contents.raiseComplaint("payload");
    judgeRedactions(contents, options.allowWithheld ?? false);
    this._pass("payloads");
    judgeSeal(contents, this.chain.size, evidence);
    this._pass("seal");
    if (contents.seal !== null && evidence !== null) await judgeEvidence(contents, contents.seal, evidence);
    this._pass("evidence");
    judgeOutput(contents);
    this._pass("output");
    for (const artifact of artifacts) {
      judgeArtifact(contents, artifact);
      this._findings.artifactsShown.push(artifact.id);
    }
    this._pass("artifacts");
    if (shown !== null) {
      judgeShownEvidence(shown, evidence);
      this._pass("shown");
    }
    await this._judgeLog(tlogProof);
    this._pass("log");
    await this._judgeAnchor();
    this._judgeTime();
    this._pass("times");
    this._judgePin();
    this._pass("pin");
    await this._judgeAttestations(evidence, attestations);
    this._pass("attestations");
  }

  /** After a failure: does the log hold the checkpoint all the same? Changes no verdict. @param {Uint8Array | null} tlogProof */
  async survey(tlogProof) {
    if (!this._findings.passed.has("chain") || this._findings.log !== null || tlogProof === null) return;
    try {
      await this._judgeLog(tlogProof);
      this._pass("log");
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error;
    } finally {
      this._findings.notAfterMs = null; // times are told of a record that holds
    }
  }

  /** @param {...Check} names */
  _pass(...names) {
    for (const name of names) this._findings.passed.add(name);
  }

  /** Does the global log hold the checkpoint, and do the keys still count there (P5.3, P6)? @param {Uint8Array | null} tlogProof */
  async _judgeLog(tlogProof) {
    const findings = this._findings;
    let logSize = null;
    if (tlogProof !== null) {
      const log = await judgeInclusion(tlogProof, this._policy, this.checkpoint, findings.origin);
      findings.log = log;
      findings.notAfterMs = inMs(notAfter(this._policy, log.cosigned));
      logSize = log.checkpoint.size;
      refuseRetired(this._policy, log.signers, logSize);
    } else if (this.contents.seal !== null && !findings.options.allowUnlogged) {
      throw new VerificationError("E_INCLUSION", "The bundle has no run.tlog-proof.");
    }
    refuseRetired(this._policy, findings.signers, logSize);
  }

  /** Since when can the run have existed (P2.3)? Keys that the policy no longer names do not count, and are no offence. */
  async _judgeAnchor() {
    if (!this._anchor.length) return;
    try {
      const { cosigned } = await openLogCheckpoint(this._anchor, this._policy);
      this._findings.notBeforeMs = inMs(notBefore(this._policy, cosigned));
    } catch (error) {
      if (error instanceof BadSignature) throw new VerificationError("E_SIG_INVALID", `anchor.note: ${error.message}.`);
      if (!(error instanceof FormatError)) throw error;
    }
  }

  /** Do the server's times lie between anchor and witness, give or take a clock's error (P9.2b)? */
  _judgeTime() {
    const { notBeforeMs: before, notAfterMs: after } = this._findings;
    const { firstCreatedAt: first, createdAt: last, size } = this.chain;
    if (before !== null && first && parseTime(first) < before - TIME_SKEW_MS_MAX) {
      this._object("E_TIME_BEFORE_ANCHOR", `Event 1 says ${first}.`, 1);
    }
    if (after !== null && last && parseTime(last) > after + TIME_SKEW_MS_MAX) {
      this._object("E_TIME_AFTER_WITNESS", `Event ${size} says ${last}.`, size);
    }
  }

  /** An honest server whose clock jumped is not called a forger, unless that was asked for (P9.2b). @param {string} code @param {string} detail @param {number} seq */
  _object(code, detail, seq) {
    const error = new VerificationError(code, detail, seq);
    if (this._findings.options.strictTime) throw error;
    this._findings.warnings.push(error.message);
  }

  /** Does the stream continue the checkpoint that was kept from earlier? */
  _judgePin() {
    const { pin } = this._findings.options;
    if (!pin) return;
    const { originLine, size } = this.checkpoint;
    if (pin.originLine !== originLine)
      throw new VerificationError("E_ORIGIN_MISMATCH", `The pin is of ${pin.originLine}.`);
    if (pin.size > size) throw new VerificationError("E_ROLLBACK", `Pinned: ${pin.size} events; here: ${size}.`);
    if (pin.size && !equalBytes(this._rootAtPin, pin.root)) {
      throw new VerificationError("E_FORK", `The first ${pin.size} events are others.`);
    }
  }

  /** Are exactly the attestations here that the run warrants, and do they say what it shows (P11)? @param {Uint8Array | null} evidence @param {Map<string, Uint8Array>} found */
  async _judgeAttestations(evidence, found) {
    const findings = this._findings;
    const { seal } = this.contents;
    const keys = this._policy.attestationKeys;
    if (findings.options.allowUnattested && !found.size) return;
    const run =
      seal !== null && evidence !== null
        ? { evidence, seal, checkpoint: this._note, logIndex: findings.log?.index ?? null }
        : null;
    const expected = await judgeAttestedMembers(found.keys(), run);
    if (findings.options.allowUnattested && !keys.length) return;
    for (const [name, statement] of expected) {
      const signer = await judgeAttestation(name, statement, found.get(name), keys);
      refuseRetired(this._policy, [signer], findings.log?.checkpoint.size ?? null);
      findings.attested.set(name, signer);
    }
  }
}

/** Salt and payload of a ninth line, nothing where it is absent, or why it cannot be read. @param {Uint8Array} line */
function openedLine(line) {
  try {
    return openPayloadLine(line) ?? {};
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { error: error.message };
  }
}

/** The note with every one of its signatures checked: unknown ones are refused in a bundle (P9.3). @param {Uint8Array} note @param {Policy} policy */
export async function openRunCheckpoint(note, policy) {
  const opened = await openedRunNote(note, policy);
  if (opened.unknown.length) {
    throw new VerificationError(
      "E_SIG_UNKNOWN_KEY",
      `run.checkpoint is also signed by '${opened.unknown[0].text.slice(0, 80)}'.`,
    );
  }
  if (!areInOrder(splitNote(note).lines)) {
    throw new VerificationError("E_FORMAT", "run.checkpoint: its signature lines are not in ascending order.");
  }
  return opened;
}

/** @param {Uint8Array} note @param {Policy} policy */
async function openedRunNote(note, policy) {
  try {
    return await openNote(note, policy.logs);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const code =
      error instanceof BadSignature ? "E_SIG_INVALID" : error instanceof UnknownKey ? "E_SIG_UNKNOWN_KEY" : "E_FORMAT";
    throw new VerificationError(code, `run.checkpoint: ${error.message}.`);
  }
}

/** @param {string} text */
function readRunCheckpoint(text) {
  const checkpoint = formatOf(() => parseCheckpoint(text), "E_FORMAT");
  return { checkpoint, ...formatOf(() => splitOrigin(checkpoint.originLine), "E_ORIGIN_MISMATCH") };
}

/** @template T @param {() => T} read @param {string} code @param {string} [what] @returns {T} */
function formatOf(read, code, what = "run.checkpoint") {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new VerificationError(code, `${what}: ${error.message}.`);
  }
}

/** The anchor is empty or a note over a checkpoint; who signed it is judged at the end (P2.3). @param {Uint8Array} anchor */
function checkAnchor(anchor) {
  if (anchor.length) formatOf(() => parseCheckpoint(splitNote(anchor).text), "E_FORMAT", "anchor.note");
}

/** A retired key counts up to a size of the global log; where no size is shown it never counts (P6.4). @param {Policy} policy @param {Verifier[]} signers @param {number | null} logSize */
function refuseRetired(policy, signers, logSize) {
  const limits = signers.map((key) => policy.until.get(key.keyId));
  if (limits.every((limit) => limit !== undefined && (logSize === null || logSize > limit))) {
    const now = logSize === null ? "no size of the global log is shown" : `the log has ${logSize} entries`;
    throw new VerificationError("E_KEY_RETIRED", `It counted until log size ${limits[0]}; ${now}.`);
  }
}

/** @param {number | null} seconds */
const inMs = (seconds) => (seconds === null ? null : seconds * 1000);
