// Owns the folds `run/v1` and `evidence/v1` of a run's events (PROOF P12): each field from the event where its
// fact happened, never from `terminal`. An absent fact is an absent key.
// @ts-check

import { FormatError, decodeBase64, encodeUtf8, toHex } from "./bytes.js";
import { OUTPUT_TYPES } from "./absent.js";
import { isObject } from "./json.js";
import { Sha256 } from "./sha256.js";

/** @typedef {{[key: string]: any}} Event A parsed payload. Its shape is checked by using it. */

export const EVIDENCE_PROJECTION = "evidence/v1";
const TERMINAL_STATUSES = new Set(["succeeded", "failed", "canceled"]);
const FAILURE_FIELDS = ["failureClass", "failureReason", "failureMessage"];
const ARTIFACT_FIELDS = ["name", "path", "sha256", "sizeBytes"];

/** Everything the events of one run say so far, in seq order. Internal events are ignored. */
export class RunFold {
  constructor() {
    this.stdoutBytes = 0;
    this.stderrBytes = 0;
    this.status = "";
    /** What seq 1 says, as views show it. @type {Event | null} */
    this._created = null;
    /** @type {Event} */
    this._template = {};
    /** Facts of their own event, by their name in views. @type {Event} */
    this._facts = {};
    /** @type {Event[]} */
    this.artifacts = [];
    /** @type {any[]} */
    this._artifactErrors = [];
    this._exitCode = undefined;
    this._truncated = false;
    this._cleanupStatus = undefined;
    /** @type {Event | null} */
    this._outcome = null;
  }

  /** @param {string} type @param {number} bytes Raw bytes of an output event. */
  addOutput(type, bytes) {
    if (type === "stdout") this.stdoutBytes += bytes;
    else this.stderrBytes += bytes;
  }

  /** Fold one event that is no output. Throws `FormatError` when it lacks what its type must have. @param {Event} event */
  apply(event) {
    const apply = APPLY.get(event.type);
    try {
      if (apply) apply(this, event);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw new FormatError(`event ${event.seq} does not have the fields of its type: ${error.message}`);
    }
  }

  /** @returns {Event} The fold `run/v1`: what `terminal` shows. */
  runView() {
    const view = {
      ...this._common(),
      id: this._created?.runId,
      evidenceAvailable: this._outcome !== null,
      templateId: this._template.id,
      templateSlug: this._template.slug,
      templateVersion: this._template.version,
      templateVersionId: this._template.versionId,
    };
    const archive = this._facts.archive;
    return archive ? { ...view, uploadedAt: archive.uploadedAt } : view;
  }

  /** @returns {Event} The fold `evidence/v1`: the Evidence Bundle. */
  evidence() {
    return {
      ...this._common(),
      workspaceRunId: this._created?.runId,
      projection: EVIDENCE_PROJECTION,
      actor: this._created?.actor,
      artifactsRequested: this._created?.artifactsRequested,
      template: this._template,
    };
  }

  _common() {
    if (!this._created?.runId) {
      throw new FormatError("the run does not start with status awaiting_archive: it has no view");
    }
    const { runId: _runId, actor: _actor, artifactsRequested: _requested, ...created } = this._created;
    const view = {
      ...created,
      ...present(this._facts),
      status: this.status,
      artifacts: this.artifacts,
      artifactIds: this.artifacts.map((artifact) => artifact.id),
      artifactErrors: this._artifactErrors,
      output: { stdoutBytes: this.stdoutBytes, stderrBytes: this.stderrBytes, truncated: this._truncated },
    };
    const cleanup = this._cleanupStatus ?? ((this._facts.sandboxId ?? null) === null ? undefined : "pending");
    return { ...view, ...present({ cleanupStatus: cleanup }), ...this._ending() };
  }

  _ending() {
    if (this._outcome === null) return {};
    const { createdAt, ...ending } = this._outcome;
    const isShown = this.status === "succeeded" || ending.failureReason === "command_exit";
    return { finishedAt: createdAt, ...ending, ...(isShown ? present({ exitCode: this._exitCode }) : {}) };
  }

  /** @param {Event} event */
  created(event) {
    const request = field(event, "request");
    this._created = {
      runId: field(event, "runId"),
      orgId: field(event, "orgId"),
      actor: field(event, "actor"),
      createdAt: field(event, "createdAt"),
      envKeys: field(event, "envKeys"),
      artifactsRequested: field(request, "artifacts"),
      ...fields(request, ["command", "projectId", "timeoutMs", "keepSandbox", "metadata", "sourceMetadata"]),
    };
    this._template = template(event);
  }

  /** @param {Event} facts Those that are null are absent, also where they were told before. */
  tell(facts) {
    this._facts = { ...this._facts, ...facts };
  }

  /** @param {Event} event */
  extracting(event) {
    this.tell({ sandbox: fields(event, ["provider", "isolation", "limits"]) });
    this._template = template(event);
  }

  /** @param {Event} event */
  collecting(event) {
    this.tell({ durationMs: field(event, "durationMs") });
    this._exitCode = event.exitCode;
  }

  /** @param {Event} event */
  statusOf(event) {
    const status = field(event, "status");
    if (typeof status === "object" && status !== null) throw new FormatError("a status is a text");
    STATUS.get(status)?.(this, event);
    this.status = status;
  }

  /** @param {Event} event */
  outcome(event) {
    const status = field(event, "status");
    if (!TERMINAL_STATUSES.has(status)) throw new FormatError("an outcome's status is succeeded, failed or canceled");
    this._outcome = {
      ...fields(event, ["orchestrationSucceeded", "createdAt"]),
      ...fields(
        event,
        FAILURE_FIELDS.filter((name) => Object.hasOwn(event, name)),
      ),
    };
    this.status = status;
  }

  /** @param {Event} event */
  artifactCollected(event) {
    this.artifacts.push({ id: field(event, "artifactId"), ...fields(event, ARTIFACT_FIELDS) });
  }

  /** @param {Event} event */
  artifactError(event) {
    this._artifactErrors.push(field(event, "error"));
  }

  /** @param {Event} event */
  cleanup(event) {
    this._cleanupStatus = field(event, "cleanupStatus");
  }

  truncated() {
    this._truncated = true;
  }
}

/** @type {Map<unknown, (fold: RunFold, event: Event) => void>} */
const APPLY = new Map([
  ["status", (fold, event) => fold.statusOf(event)],
  ["artifact_collected", (fold, event) => fold.artifactCollected(event)],
  ["artifact_error", (fold, event) => fold.artifactError(event)],
  ["output_truncated", (fold) => fold.truncated()],
  ["cleanup", (fold, event) => fold.cleanup(event)],
  ["outcome", (fold, event) => fold.outcome(event)],
]);

/** @type {Map<unknown, (fold: RunFold, event: Event) => void>} */
const STATUS = new Map([
  ["awaiting_archive", (fold, event) => fold.created(event)],
  ["archive_uploaded", (fold, event) => fold.tell({ archive: archive(event) })],
  ["starting", (fold, event) => fold.tell({ sandboxId: field(event, "sandboxId") })],
  ["extracting", (fold, event) => fold.extracting(event)],
  [
    "running",
    (fold, event) => fold.tell({ commandId: field(event, "commandId"), startedAt: field(event, "createdAt") }),
  ],
  ["collecting", (fold, event) => fold.collecting(event)],
]);

/** Running digests of the raw bytes of both output streams (P4.1). */
export class StreamDigests {
  constructor() {
    /** @type {Record<string, Sha256>} */
    this._hashes = { stdout: new Sha256(), stderr: new Sha256() };
  }

  /** @param {string} type @param {Uint8Array} raw */
  feed(type, raw) {
    this._hashes[type].update(raw);
  }

  /** @returns {Record<string, number | string>} The four fields that the seal holds. */
  fields() {
    return Object.fromEntries(
      [...OUTPUT_TYPES].flatMap((type) => [
        [`${type}Bytes`, this._hashes[type].size],
        [`${type}Sha256`, toHex(this._hashes[type].digest())],
      ]),
    );
  }
}

/** What the command wrote: `dataBase64` where present, else the UTF-8 of `data`. Throws `FormatError`. @param {Event} event */
export function rawBytes(event) {
  const data = field(event, "data");
  const encoded = event.dataBase64 ?? null;
  if (encoded !== null && typeof encoded === "string") return decodeBase64(encoded);
  if (encoded !== null || typeof data !== "string") throw new FormatError("its output cannot be read");
  return encodeUtf8(data);
}

/** @param {Event} event */
function archive(event) {
  const told = field(event, "archive");
  return { ...fields(told, ["sha256", "sizeBytes"]), uploadedAt: field(event, "createdAt") };
}

/** @param {Event} event */
const template = (event) => fields(field(event, "template"), ["id", "slug", "version", "versionId"]);

/** @param {unknown} object @param {string[]} names @returns {Event} Those fields, which must be there. */
const fields = (object, names) => Object.fromEntries(names.map((name) => [name, field(object, name)]));

/** @param {unknown} object @param {string} name @returns {any} Throws `FormatError` where there is none. */
function field(object, name) {
  if (!isObject(object) || !Object.hasOwn(object, name)) throw new FormatError(`it has no ${name}`);
  return object[name];
}

/** @param {Event} facts @returns {Event} Without those that are absent. */
const present = (facts) =>
  Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== null && value !== undefined));
