// Owns the last judgements over a stream: redactions, seal, evidence, output, artifacts, attestations (PROOF P9.1).
// Each function asks one question and throws `VerificationError` when the answer is bad.
// @ts-check

import { FormatError, decodeUtf8, encodeUtf8, equalBytes, toHex } from "./bytes.js";
import { statements } from "./attestation.js";
import { parseEnvelope, signerAmong } from "./dsse.js";
import { EVIDENCE_PROJECTION } from "./fold.js";
import { canonicalText, decodeCanonical, isObject, parseJson } from "./json.js";
import { digest } from "./record.js";
import { VerificationError } from "./verdict.js";

/** @typedef {import("./contents.js").Contents} Contents */
/** @typedef {import("./note.js").Verifier} Verifier */

const FIELDS_NAMED_MAX = 8;
const FIELD_CHARS_MAX = 60;

/** Is every absent payload accounted for (P7)? @param {Contents} contents @param {boolean} allowWithheld */
export function judgeRedactions(contents, allowWithheld) {
  contents.raiseComplaint("redaction");
  const seq = contents.absent.firstIrreplaceable();
  if (seq !== undefined) {
    const detail = `Event ${seq} is neither stdout nor stderr, yet its payload is absent.`;
    throw new VerificationError("E_REDACTION_UNRECORDED", detail, seq);
  }
  const unrecorded = contents.absent.unrecorded();
  if (unrecorded.length && !allowWithheld) {
    const more = unrecorded.length > 1 ? ` and ${unrecorded.length - 1} more` : "";
    throw new VerificationError("E_REDACTION_UNRECORDED", `Event ${unrecorded[0]}${more}.`, unrecorded[0]);
  }
}

/** Does the stream end as it must (P4.1, P4.2)? @param {Contents} contents @param {number} size @param {Uint8Array | null} evidence */
export function judgeSeal(contents, size, evidence) {
  contents.raiseComplaint("seal");
  if (!contents.isRun && evidence !== null) {
    throw new VerificationError("E_FORMAT", "The stream of an organisation has no evidence.json.");
  }
  if (contents.seal === null) {
    if (contents.terminalSeq !== null || evidence !== null) {
      throw new VerificationError("E_NOT_FINAL", `It ends with event ${size} and has no seal.`, size);
    }
  } else if (evidence === null) {
    throw new VerificationError("E_FORMAT", "The run is sealed, but the bundle has no evidence.json.");
  }
}

/**
 * Is evidence.json what was sealed and what the events say, and terminal too (P12)?
 * @param {Contents} contents @param {import("./fold.js").Event} seal @param {Uint8Array} evidence
 */
export async function judgeEvidence(contents, seal, evidence) {
  if (seal.projection !== EVIDENCE_PROJECTION) {
    throw new VerificationError("E_FORMAT", `This page knows the projection ${EVIDENCE_PROJECTION} only.`, seal.seq);
  }
  const { fold } = contents;
  for (const type of contents.absent.types) {
    // What cannot be counted again is taken from the seal (P7).
    if (type === "stdout") fold.stdoutBytes = seal.stdoutBytes;
    else fold.stderrBytes = seal.stderrBytes;
  }
  const { folded, expected, view } = foldedAgain(fold);
  if (!equalBytes(evidence, encodeUtf8(expected))) {
    throw new VerificationError("E_EVIDENCE_DRIFT", `evidence.json: ${differences(evidence, folded)}.`, seal.seq);
  }
  if (toHex(await digest(evidence)) !== seal.evidenceSha256) {
    throw new VerificationError("E_EVIDENCE_DRIFT", "The seal names another digest of it.", seal.seq);
  }
  const terminal = /** @type {import("./fold.js").Event} */ (contents.terminal);
  const shown = canonicalText(terminal.workspaceRun ?? null);
  if (shown !== canonicalText(view)) {
    throw new VerificationError("E_EVIDENCE_DRIFT", `terminal: ${differences(encodeUtf8(shown), view)}.`, terminal.seq);
  }
}

/** @param {import("./fold.js").RunFold} fold */
function foldedAgain(fold) {
  try {
    const [folded, view] = [fold.evidence(), fold.runView()];
    canonicalText(view);
    return { folded, expected: canonicalText(folded), view };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new VerificationError("E_FORMAT", `The events do not make a run: ${error.message}.`);
  }
}

/** Do the output events show their bytes rightly, and give the sealed digests (P1.3, P4.1)? @param {Contents} contents */
export function judgeOutput(contents) {
  contents.raiseComplaint("output");
  const { seal, absent } = contents;
  if (seal === null) return;
  const found = contents.digests.fields();
  for (const [name, value] of Object.entries(found)) {
    const isAbsent = [...absent.types].some((type) => name.startsWith(type));
    if (!isAbsent && seal[name] !== value) {
      throw new VerificationError("E_STREAM_DIGEST", `${name}: sealed ${seal[name]}, found ${value}.`, seal.seq);
    }
  }
  for (const [type, bytesMax] of absent.outputBytesMax) {
    const least = Number(found[`${type}Bytes`]);
    const sealed = seal[`${type}Bytes`];
    if (!Number.isInteger(sealed) || sealed < least || sealed > least + bytesMax) {
      const told = Number.isInteger(sealed) ? sealed : "no number";
      const detail = `${type}Bytes: sealed ${told}, possible ${least} to ${least + bytesMax}.`;
      throw new VerificationError("E_STREAM_DIGEST", detail, seal.seq);
    }
  }
}

/**
 * Is this the content that was collected (P8)?
 * @param {Contents} contents @param {{id: string, sha256: string, sizeBytes: number}} found
 */
export function judgeArtifact(contents, { id, sha256, sizeBytes }) {
  const told = contents.artifacts.get(id);
  if (!told) throw new VerificationError("E_ARTIFACT_DIGEST", `No event tells that ${id} was collected.`);
  if (told.sha256 !== sha256 || told.sizeBytes !== sizeBytes) {
    throw new VerificationError("E_ARTIFACT_DIGEST", `${id}: ${sizeBytes} bytes, sha256 ${sha256}.`);
  }
}

/** Is evidence that was shown, `proof` beside, the same object as the verified one (P9.2a)? @param {Uint8Array} shown @param {Uint8Array | null} evidence */
export function judgeShownEvidence(shown, evidence) {
  if (evidence === null)
    throw new VerificationError("E_NOT_FINAL", "An open run has no evidence to compare the shown one with.");
  const text = readShown(shown);
  if (text !== decodeUtf8(evidence)) {
    const verified = /** @type {{[key: string]: any}} */ (parseJson(evidence));
    throw new VerificationError("E_EVIDENCE_DRIFT", `The evidence shown: ${differences(encodeUtf8(text), verified)}.`);
  }
}

/** @param {Uint8Array} shown */
function readShown(shown) {
  try {
    const value = parseJson(shown);
    if (!isObject(value)) return canonicalText(value);
    const { proof: _proof, ...fields } = value;
    return canonicalText(fields);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new VerificationError("E_FORMAT", `The evidence shown: ${error.message}.`);
  }
}

/**
 * The statements that this run warrants; is there an attestation of which it warrants none (P11)?
 * @param {Iterable<string>} names @param {import("./attestation.js").SealedRun | null} run null for what warrants none.
 */
export async function judgeAttestedMembers(names, run) {
  const expected = run === null ? new Map() : await warranted(run);
  for (const name of names) {
    if (!expected.has(name))
      throw new VerificationError("E_FORMAT", `${name} is here, but this run warrants no such statement.`);
  }
  return expected;
}

/** @param {import("./attestation.js").SealedRun} run */
async function warranted(run) {
  try {
    return await statements(run);
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof TypeError)) throw error; // a field that is missing there
    throw new VerificationError("E_FORMAT", `Nothing can be attested: ${error.message}.`);
  }
}

/**
 * The key that signed it: is it one for attestations, and is the statement the one of this run (P11)?
 * @param {string} name @param {Uint8Array} expected @param {Uint8Array | undefined} bytes @param {Verifier[]} keys
 */
export async function judgeAttestation(name, expected, bytes, keys) {
  if (bytes === undefined) throw new VerificationError("E_FORMAT", `${name} is missing, which this run warrants.`);
  const { envelope, signer } = await openedEnvelope(name, bytes, keys);
  if (equalBytes(envelope.payload, expected)) return signer;
  const found = readStatement(name, envelope.payload);
  const right = decodeCanonical(expected);
  if (canonicalText(found.subject ?? null) !== canonicalText(right.subject)) {
    throw new VerificationError("E_ATTESTATION_SUBJECT", `${name}: its subject is another.`);
  }
  throw new VerificationError("E_ATTESTATION_RESULT", `${name}: ${differences(envelope.payload, right)}.`);
}

/** @param {string} name @param {Uint8Array} bytes @param {Verifier[]} keys */
async function openedEnvelope(name, bytes, keys) {
  let envelope;
  try {
    envelope = parseEnvelope(bytes);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new VerificationError("E_FORMAT", `${name}: ${error.message}.`);
  }
  const signer = await signerAmong(envelope, keys);
  if (signer) return { envelope, signer };
  const isKnown = keys.some((key) => key.id === envelope.keyid);
  const why = isKnown ? "the statement or its signature was changed" : "the policy names no such key";
  throw new VerificationError("E_DSSE_SIG", `${name}, signed as ${envelope.keyid.slice(0, 120)}: ${why}.`);
}

/** @param {string} name @param {Uint8Array} payload */
function readStatement(name, payload) {
  try {
    return decodeCanonical(payload);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new VerificationError("E_FORMAT", `${name}: ${error.message}.`);
  }
}

/** The names of the fields in which two objects differ, for people. @param {Uint8Array} shown @param {{[key: string]: any}} expected */
function differences(shown, expected) {
  let found;
  try {
    found = parseJson(shown);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return error.message;
  }
  if (!isObject(found)) return "it is not an object";
  const shownText = (/** @type {{[key: string]: any}} */ fields, /** @type {string} */ name) =>
    Object.hasOwn(fields, name) ? canonicalText(fields[name]) : "";
  const names = [...new Set([...Object.keys(found), ...Object.keys(expected)])]
    .sort()
    .filter((name) => shownText(found, name) !== shownText(expected, name))
    .map((name) => name.slice(0, FIELD_CHARS_MAX));
  if (!names.length) return "its bytes are not canonical";
  const more = names.length > FIELDS_NAMED_MAX ? ` and ${names.length - FIELDS_NAMED_MAX} more` : "";
  return `other than the events say in ${names.slice(0, FIELDS_NAMED_MAX).join(", ")}${more}`;
}
