// Owns one check from its start to its report: reads from the server, judges, and tells the page.
// @ts-check

import { FormatError, encodeUtf8 } from "./bytes.js";
import { Source } from "./container.js";
import { Unfinished, readAll } from "./fetching.js";
import { canonicalText, isObject, parseJson } from "./json.js";
import { reportOf } from "./report.js";
import { Changed, Resuming, again } from "./resuming.js";
import { ServedLog } from "./served.js";
import { agreesWithWebCrypto } from "./sha256.js";
import { unknownSigners } from "./trust.js";
import { verifyBundle } from "./verify.js";

/**
 * What the page asks for. `hasEnded` is what the page shows of the run; `pin` is the checkpoint of this run that this browser remembers, `pinnedKeys` the keys.
 * @typedef {{runId: string, hasEnded: boolean, pinnedKeys: string[] | null, pin: import("./checkpoint.js").Checkpoint | null}} Order
 */

/** Contents of artifacts are read too, where they are not more than this together. */
const ARTIFACT_BYTES_MAX = 64 * 1024 * 1024;
const PROGRESS_EVERY_MS = 100;

/** Times that a check begins anew because what the server sends changed while the connection was lost. */
const RESTARTS_MAX = 3;

/** @param {Order} order */
async function checkUntilRead(order) {
  const progress = new Progress();
  for (let restart = 0; ; restart += 1) {
    try {
      return { ...(await check(order, progress, restart === RESTARTS_MAX)), losses: progress.losses };
    } catch (error) {
      if (!(error instanceof Changed) || restart === RESTARTS_MAX) throw error;
      progress.restart();
    }
  }
}

/** @param {Order} order @param {Progress} progress @param {boolean} isLast Whether it does not begin anew. */
async function check(order, progress, isLast) {
  if (!(await agreesWithWebCrypto())) {
    throw new Unfinished("this browser's SHA-256 and the one of this page disagree, so that none can be relied on");
  }
  const started = performance.now();
  const lossesBefore = progress.losses;
  const base = `/v1/workspace-runs/${order.runId}`;
  const onLost = () => progress.lose();
  const policy = await again(() => readAll("/v1/proof/policy"), onLost);
  const evidence = await again(() => shownEvidence(`${base}/evidence`), onLost);
  const query = evidence.readArtifacts ? "?artifacts=true" : "";
  const bundle = await new Resuming(`${base}/proof/bundle${query}`, "*/*", onLost).open();
  progress.begin(bundle.bytesTotal);
  const source = new Source(bundle.body(), (bytes) => progress.read(bytes));
  const events = await new Resuming(`${base}/events`, "application/x-ndjson", onLost).open();
  const served = new ServedLog(events.body());
  const options = { expectedRun: order.runId, allowOpen: true, pin: order.pin, shown: evidence.shown };
  const result = await verifyBundle(source, policy, options, {
    onProgress: (done, signed) => progress.judged(done, signed),
    onEvents: (events) => served.compare(events),
  });
  if (result.verdict === "FAILED") await source.cancel();
  if (served.other && progress.losses > lossesBefore && !isLast) {
    // One of the two may have been asked for anew behind a redaction, and the other before it.
    throw new Changed("the connection was lost, and proof and log are of different moments");
  }
  const trust = await trustOf(result, order.pinnedKeys);
  const told = { ...reportOf(result, served, trust), hasEnded: order.hasEnded };
  return { ...told, bytesRead: source.bytesRead, tookMs: performance.now() - started };
}

/**
 * The evidence that the server shows, without its envelope; null before the run has ended.
 * @param {string} path
 */
async function shownEvidence(path) {
  try {
    const bytes = await readAll(path);
    return inner(bytes);
  } catch (error) {
    if (error instanceof Unfinished && error.status === 404) return { shown: null, readArtifacts: false };
    throw error;
  }
}

/** @param {Uint8Array} bytes @returns {{shown: Uint8Array, readArtifacts: boolean}} */
function inner(bytes) {
  try {
    const answer = parseJson(bytes);
    const evidence = isObject(answer) ? answer.evidence : null;
    return { shown: encodeUtf8(canonicalText(evidence)), readArtifacts: areSmall(evidence) };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { shown: bytes, readArtifacts: false }; // judged as it is: E_FORMAT
  }
}

/** @param {unknown} evidence */
function areSmall(evidence) {
  const artifacts = isObject(evidence) && Array.isArray(evidence.artifacts) ? evidence.artifacts : [];
  const bytes = artifacts.reduce(
    (/** @type {number} */ sum, /** @type {any} */ artifact) => sum + Number(artifact?.sizeBytes),
    0,
  );
  return artifacts.length > 0 && bytes <= ARTIFACT_BYTES_MAX;
}

/** @param {Awaited<ReturnType<typeof verifyBundle>>} result @param {string[] | null} pinned */
async function trustOf({ verdict, findings }, pinned) {
  if (pinned === null || verdict === "FAILED" || findings.policy === null) return null;
  return unknownSigners([...findings.signers, ...(findings.log?.signers ?? [])], findings.policy.logs, pinned);
}

/** Tells the page how far the check is, not more often than it can be seen. */
class Progress {
  constructor() {
    this._state = { done: 0, signed: 0, bytes: 0, bytesTotal: 0, losses: 0 };
    this._toldAt = -Infinity;
  }

  /** How often the connection was lost. */
  get losses() {
    return this._state.losses;
  }

  /** @param {number} bytesTotal 0 where it is not known. */
  begin(bytesTotal) {
    this._state.bytesTotal = bytesTotal;
  }

  /** The connection is lost: told at once, since nothing may follow for long. */
  lose() {
    this._state.losses += 1;
    this._toldAt = -Infinity;
    this._tell();
  }

  /** All is read again from the first byte. */
  restart() {
    Object.assign(this._state, { done: 0, signed: 0, bytes: 0 });
  }

  /** @param {number} bytes */
  read(bytes) {
    this._state.bytes = bytes;
    this._tell();
  }

  /** @param {number} done @param {number} signed */
  judged(done, signed) {
    this._state.done = done;
    this._state.signed = signed;
    this._tell();
  }

  _tell() {
    const now = performance.now();
    if (now - this._toldAt < PROGRESS_EVERY_MS) return;
    this._toldAt = now;
    postMessage({ kind: "progress", ...this._state });
  }
}

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ kind: "report", report: await checkUntilRead(data) });
  } catch (error) {
    // Whatever stops the check, a fault of this page's own code too, says nothing about the record.
    postMessage({ kind: "unfinished", reason: error instanceof Error ? error.message : String(error) });
  }
});
