// Owns what the worker tells the page of a check: plain facts, in a form that can be sent.
// @ts-check

import { encodeBase64 } from "./bytes.js";
import { blame } from "./verify.js";

/** @typedef {Awaited<ReturnType<typeof import("./verify.js").verifyBundle>>} Result */
/** @typedef {ReturnType<typeof reportOf>} Report */

const SEQS_TOLD_MAX = 10;

/**
 * @param {Result} result
 * @param {import("./served.js").ServedLog} served
 * @param {{strangers: import("./note.js").Verifier[], vouchedFor: import("./note.js").Verifier[]} | null} trust null where nothing was remembered.
 */
export function reportOf(result, served, trust) {
  const { findings, verdict, error, unreadable } = result;
  const { contents, chain, checkpoint, policy, log } = findings;
  const redacted = contents?.absent.redacted() ?? [];
  return {
    ...blame(result),
    verdict: /** @type {string} */ (verdict),
    detail: error?.detail ?? unreadable ?? "",
    meaning: error?.message ?? unreadable ?? "",
    isUnreadable: unreadable !== null,
    passed: /** @type {string[]} */ ([...findings.passed]),
    stream: findings.stream,
    origin: findings.origin,
    originLine: checkpoint?.originLine ?? "",
    size: checkpoint?.size ?? 0,
    root: checkpoint ? encodeBase64(checkpoint.root) : "",
    done: chain?.size ?? 0,
    matched: contents?.matched ?? 0,
    changed: contents?.changed ?? [],
    changedCount: contents?.changedCount ?? 0,
    firstChanged: changeOf(contents?.firstChanged ?? null),
    outcome: contents && findings.passed.has("evidence") ? outcomeOf(contents) : null,
    sealSeq: contents?.sealSeq ?? null,
    redacted: redacted.slice(0, SEQS_TOLD_MAX),
    redactedCount: redacted.length,
    redaction: redactionOf(contents?.redactions.at(-1)),
    signers: findings.signers.map(({ id, name, text }) => ({ id, name, text })),
    witnesses: [...(policy?.witnesses ?? [])].map(([name, key]) => ({ name, text: key.text })),
    witnessesNeeded: policy?.needed ?? 0,
    log: log && {
      index: log.index,
      size: log.checkpoint.size,
      cosigned: [...log.cosigned].map(([name, at]) => ({ name, ms: at * 1000 })),
    },
    attested: [...findings.attested.keys()],
    artifacts: contents?.fold.artifacts.length ?? 0,
    artifactsRead: findings.artifactsShown.length,
    notBeforeMs: findings.notBeforeMs,
    notAfterMs: findings.notAfterMs,
    warnings: findings.warnings,
    served: { same: served.same, onlyHere: served.onlyHere, other: served.other },
    isFirstSeen: trust === null,
    strangers: [...new Set(trust?.strangers.map(({ id }) => id))],
    vouchedFor: trust?.vouchedFor.map(({ id, text }) => ({ id, text })) ?? [],
  };
}

/** How the run ended, by its events; null while it is open. @param {import("./contents.js").Contents} contents */
function outcomeOf({ seal, fold }) {
  if (seal === null) return null;
  const { status, exitCode = null } = fold.evidence();
  return { status: String(status), exitCode: exitCode === null ? null : Number(exitCode) };
}

/** @param {import("./contents.js").Contents["firstChanged"]} change */
const changeOf = (change) =>
  change && { ...change.header, recorded: change.header.commitment, computed: change.computed };

/** @param {{reason: unknown, actor: unknown, createdAt: unknown} | undefined} redaction */
function redactionOf(redaction) {
  if (!redaction) return null;
  const { reason, actor, createdAt } = redaction;
  return { reason: String(reason ?? ""), actor: String(actor ?? ""), createdAt: String(createdAt ?? "") };
}
