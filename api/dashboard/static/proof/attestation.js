// Owns what a sealed run attests: in-toto statements that are pure functions of its proof (PROOF P11).
// @ts-check

import { FormatError, encodeBase64, encodeUtf8, toHex } from "./bytes.js";
import { parseCheckpoint, splitOrigin } from "./checkpoint.js";
import { canonicalText, decodeCanonical } from "./json.js";
import { splitNote } from "./note.js";
import { digest } from "./record.js";

/** @typedef {{[key: string]: any}} Statement */
/** @typedef {{evidence: Uint8Array, seal: Statement, checkpoint: Uint8Array, logIndex: number | null}} SealedRun */

const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const TEST_RESULT_TYPE = "https://in-toto.io/attestation/test-result/v0.1";
const PROVENANCE_TYPE = "https://slsa.dev/provenance/v1";
const RUN_EVIDENCE_TYPE = "https://crownest.dev/attestation/run-evidence/v1";
const BUILD_TYPE = "https://crownest.dev/build-type/workspace-run/v1";
const CONTENT_BYTES_MAX = 1023;
const HEX_HASH = /^[0-9a-f]{64}$/;
const JUDGED_FAILURES = ["command_exit", "timeout"];
/** What `encodeURIComponent` escapes, and a URI of ours does not. */
const URI_SAFE = /%(?:2F|3A|40|5B|5D|24|26|2C|3B|3D)/g;
/** What it leaves as it is, and a segment of a path does not. */
const NOT_IN_SEGMENT = /[!'()*]/g;

export const MEMBERS = ["test-result", "provenance", "run-evidence"].map((name) => `attestations/${name}.dsse.json`);

/**
 * The canonical bytes of each statement that this run warrants, by its member of the bundle.
 * @param {SealedRun} run
 * @returns {Promise<Map<string, Uint8Array>>} Throws `FormatError` when its parts are not what a sealed run has.
 */
export async function statements(run) {
  const facts = await factsOf(run);
  const made = [await testResult(facts), await provenance(facts), runEvidence(facts)];
  const pairs = MEMBERS.map((name, at) => /** @type {const} */ ([name, made[at]]));
  return new Map(
    pairs
      .filter(([, made]) => made)
      .map(([name, made]) => [name, encodeUtf8(canonicalText(/** @type {Statement} */ (made)))]),
  );
}

/** @param {SealedRun} run @returns {Promise<Statement>} Evidence, seal and checkpoint, read. */
async function factsOf(run) {
  const evidence = decodeCanonical(run.evidence);
  const head = parseCheckpoint(splitNote(run.checkpoint).text);
  const runUri = uri(head.originLine);
  const file = async (
    /** @type {string} */ name,
    /** @type {Uint8Array} */ bytes,
    /** @type {string} */ mediaType,
  ) => ({
    name,
    uri: `${runUri}/${name}`,
    digest: sha256Of(toHex(await digest(bytes))),
    mediaType,
  });
  const archive = /** @type {any} */ (evidence.archive ?? null);
  return {
    evidence,
    seal: run.seal,
    head,
    logIndex: run.logIndex,
    runUri,
    builderUri: uri(splitOrigin(head.originLine).origin),
    archive: archive && { name: "archive", uri: `${runUri}/archive`, digest: sha256Of(archive.sha256) },
    evidenceFile: await file("evidence.json", run.evidence, "application/json"),
    checkpointFile: await file("run.checkpoint", run.checkpoint, "text/plain"),
  };
}

/** In-toto test-result v0.1 over the archive. @param {Statement} facts */
async function testResult({ evidence, archive, evidenceFile }) {
  const result = resultOf(evidence);
  if (!archive || result === null) return null;
  const command = await inline("command", encodeUtf8(textOf(evidence.command)), "text/plain");
  const configuration = [
    { ...command, annotations: { timeoutMs: evidence.timeoutMs } },
    await inline("template", encodeUtf8(canonicalText(evidence.template)), "application/json"),
    evidenceFile,
  ];
  return statement(TEST_RESULT_TYPE, [archive], { result, configuration });
}

/** How the command went, null where nothing can be said of it. @param {Statement} evidence */
function resultOf({ status, exitCode, failureReason, artifactErrors }) {
  if (status === "succeeded" && Number.isInteger(exitCode)) {
    if (exitCode) return "FAILED";
    return artifactErrors.length ? "WARNED" : "PASSED";
  }
  if (status === "failed" && typeof failureReason === "object" && failureReason !== null) {
    throw new FormatError("a failure's reason is no list and no object");
  }
  return status === "failed" && JUDGED_FAILURES.includes(failureReason) ? "FAILED" : null;
}

/** SLSA provenance v1 over the artifacts. @param {Statement} facts */
function provenance({ evidence, archive, evidenceFile, checkpointFile, runUri, builderUri }) {
  if (!evidence.artifacts.length) return null;
  const subject = evidence.artifacts.map((/** @type {Statement} */ artifact) => ({
    name: artifact.path,
    uri: `${runUri}/artifacts/${segment(textOf(artifact.id))}`,
    digest: sha256Of(artifact.sha256),
  }));
  const buildDefinition = {
    buildType: BUILD_TYPE,
    externalParameters: {
      command: evidence.command,
      artifacts: evidence.artifactsRequested,
      envKeys: evidence.envKeys,
      keepSandbox: evidence.keepSandbox,
      timeoutMs: evidence.timeoutMs,
      template: evidence.template.slug,
    },
    internalParameters: present({
      resolvedTemplate: evidence.template,
      sandbox: evidence.sandbox,
      sandboxId: evidence.sandboxId,
    }),
    resolvedDependencies: archive ? [archive] : [],
  };
  const times = present({ startedOn: evidence.startedAt, finishedOn: evidence.finishedAt });
  const runDetails = {
    builder: { id: builderUri },
    metadata: { invocationId: evidence.workspaceRunId, ...times },
    byproducts: [evidenceFile, checkpointFile],
  };
  return statement(PROVENANCE_TYPE, subject, { buildDefinition, runDetails });
}

/** Our own predicate over evidence.json. @param {Statement} facts */
function runEvidence({ evidence, seal, head, logIndex, evidenceFile, checkpointFile }) {
  const stream = (/** @type {string} */ kind) => ({
    digest: sha256Of(seal[`${kind}Sha256`]),
    sizeBytes: seal[`${kind}Bytes`],
  });
  const predicate = {
    runId: evidence.workspaceRunId,
    orgId: evidence.orgId,
    projectId: evidence.projectId,
    status: evidence.status,
    createdAt: evidence.createdAt,
    finishedAt: evidence.finishedAt,
    projection: evidence.projection,
    sealSeq: seal.seq,
    archive: evidence.archive ? sized(evidence.archive) : null,
    artifacts: evidence.artifacts.map((/** @type {Statement} */ artifact) => ({
      id: artifact.id,
      path: artifact.path,
      ...sized(artifact),
    })),
    output: { stdout: stream("stdout"), stderr: stream("stderr") },
    head: {
      origin: head.originLine,
      size: head.size,
      root: encodeBase64(head.root),
      checkpoint: checkpointFile.digest,
    },
    globalIndex: logIndex,
  };
  return statement(RUN_EVIDENCE_TYPE, [evidenceFile], present(predicate));
}

/** @param {string} predicateType @param {Statement[]} subject @param {Statement} predicate */
const statement = (predicateType, subject, predicate) => ({ _type: STATEMENT_TYPE, subject, predicateType, predicate });

/** A descriptor of bytes that lie in the evidence; short ones are shown. @param {string} name @param {Uint8Array} content @param {string} mediaType */
async function inline(name, content, mediaType) {
  const shown = content.length <= CONTENT_BYTES_MAX ? encodeBase64(content) : null;
  return present({ name, digest: sha256Of(toHex(await digest(content))), content: shown, mediaType });
}

/** @param {Statement} item */
const sized = (item) => ({ digest: sha256Of(item.sha256), sizeBytes: item.sizeBytes });

/** @param {Statement} fields @returns {Statement} Without the facts that are absent. */
const present = (fields) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));

/** @param {unknown} value */
function sha256Of(value) {
  if (typeof value !== "string" || !HEX_HASH.test(value)) throw new FormatError("a digest is 64 lowercase hex digits");
  return { sha256: value };
}

/** What is a text; the browser would make one of anything. @param {unknown} value @returns {string} */
function textOf(value) {
  if (typeof value !== "string") throw new FormatError("a command and the id of an artifact are texts");
  return value;
}

/** An origin as a URI (RFC 3986), normalised as in-toto asks. @param {string} origin */
function uri(origin) {
  const [authority, ...path] = origin.split("/");
  const escaped = (/** @type {string} */ text) => encodeURIComponent(text).replace(URI_SAFE, decodeURIComponent);
  return `https://${escaped(authority.toLowerCase())}${path.length ? "/" : ""}${escaped(path.join("/"))}`;
}

/** @param {string} text */
const segment = (text) =>
  encodeURIComponent(text).replace(
    NOT_IN_SEGMENT,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
