// Owns the front of verification: a bundle as it comes in and a policy in, a report out (PROOF P9).
// @ts-check

import { FormatError, toHex } from "./bytes.js";
import {
  ANCHOR,
  ARTIFACTS,
  CHECKPOINT,
  EVENTS,
  EVIDENCE,
  EntrySplitter,
  MemberOrder,
  TLOG_PROOF,
  bytesMaxOf,
} from "./bundle.js";
import { Container } from "./container.js";
import { Findings, Judgement } from "./judgement.js";
import { parsePolicy } from "./policy.js";
import { Sha256 } from "./sha256.js";
import { CODES, COMPLETE, FAILED, OPEN_PREFIX, REDACTED, VerificationError, WITHHELD } from "./verdict.js";

/** @typedef {import("./bundle.js").Entry} Entry */
/** @typedef {import("./judgement.js").Judged} Judged */
/** @typedef {import("./judgement.js").Options} Options */

/**
 * What the caller is told and asked on the way.
 * @typedef {{onProgress?: (done: number, signed: number) => void, onEvents?: (events: Judged[]) => Promise<void>}} Hooks
 */

/** Events that are judged together; the browser is asked at once for the hashes of the large ones. */
const BATCH = 256;

/**
 * Verify a bundle while it comes in.
 * @param {import("./container.js").Source} source @param {Uint8Array} policy
 * @param {Options & {shown?: Uint8Array | null}} options @param {Hooks} [hooks]
 * @returns {Promise<{verdict: string, error: VerificationError | null, unreadable: string | null, findings: Findings}>}
 *   `unreadable` says why nothing was judged. Throws only what reading the source throws.
 */
export async function verifyBundle(source, policy, options, hooks = {}) {
  const findings = new Findings(options);
  const reading = new Reading(source, policy, findings, hooks);
  try {
    await reading.toTheEnd(options.shown ?? null);
    return { verdict: accepted(findings), error: null, unreadable: null, findings };
  } catch (error) {
    if (error instanceof FormatError) return { verdict: FAILED, error: null, unreadable: error.message, findings };
    if (error instanceof VerificationError) return { verdict: FAILED, error, unreadable: null, findings };
    throw error;
  }
}

/** @param {Findings} findings */
function accepted({ contents }) {
  if (contents === null || contents.seal === null) return OPEN_PREFIX;
  if (contents.absent.unrecorded().length) return WITHHELD;
  return contents.absent.redacted().length ? REDACTED : COMPLETE;
}

/** The code and clause of a result; what cannot be read at all is E_FORMAT. @param {{error: VerificationError | null, unreadable: string | null}} result */
export function blame({ error, unreadable }) {
  if (error) return { code: error.code, clause: error.clause, seq: error.seq };
  if (unreadable !== null) return { code: "E_FORMAT", clause: CODES.E_FORMAT[0], seq: null };
  return { code: null, clause: null, seq: null };
}

/** One bundle, read from front to back. */
class Reading {
  /** @param {import("./container.js").Source} source @param {Uint8Array} policy @param {Findings} findings @param {Hooks} hooks */
  constructor(source, policy, findings, hooks) {
    this._container = new Container(source);
    this._policy = policy;
    this._findings = findings;
    this._hooks = hooks;
    /** @type {Map<string, Uint8Array>} */
    this._small = new Map();
    /** @type {{id: string, sha256: string, sizeBytes: number}[]} */
    this._artifacts = [];
    /** @type {Judgement | null} */
    this._judgement = null;
  }

  /** @param {Uint8Array | null} shown */
  async toTheEnd(shown) {
    const order = new MemberOrder();
    for (let member = await this._container.next(); member; member = await this._container.next()) {
      order.take(member.name);
      if (member.name === EVENTS) await this._events(member);
      else if (member.name.startsWith(ARTIFACTS)) await this._artifact(member);
      else this._small.set(member.name, await this._container.read(member, bytesMaxOf(member.name)));
    }
    order.take("");
    await this._finish(shown);
    const { damaged } = this._container;
    if (damaged.length) throw new FormatError(`the zip's checksum of ${damaged.join(", ")} is wrong`);
  }

  /** @param {import("./container.js").Member} member */
  async _events(member) {
    const policy = await parsePolicy(this._policy);
    this._findings.policy = policy;
    const [note, anchor] = [CHECKPOINT, ANCHOR].map((name) => /** @type {Uint8Array} */ (this._small.get(name)));
    this._judgement = await Judgement.begin(this._findings, policy, note, anchor);
    const splitter = new EntrySplitter();
    for await (const chunk of this._container.chunks(member)) await this._judge(splitter.push(chunk));
    await this._judge(splitter.finish());
  }

  /** @param {Entry[]} entries */
  async _judge(entries) {
    const judgement = /** @type {Judgement} */ (this._judgement);
    for (let at = 0; at < entries.length; at += BATCH) {
      const batch = entries.slice(at, at + BATCH);
      const judged = await judgement.add(batch);
      await this._hooks.onEvents?.(judged);
      this._hooks.onProgress?.(judgement.chain.size, judgement.checkpoint.size);
    }
  }

  /** @param {import("./container.js").Member} member */
  async _artifact(member) {
    const hash = new Sha256();
    for await (const chunk of this._container.chunks(member)) hash.update(chunk);
    this._artifacts.push({
      id: member.name.slice(ARTIFACTS.length),
      sha256: toHex(hash.digest()),
      sizeBytes: hash.size,
    });
  }

  /** @param {Uint8Array | null} shown */
  async _finish(shown) {
    const { _small: small, _judgement: judgement } = this;
    const [evidence, tlogProof] = [EVIDENCE, TLOG_PROOF].map((name) => small.get(name) ?? null);
    const attestations = new Map([...small].filter(([name]) => name.startsWith("attestations/")));
    const rest = { evidence, tlogProof, attestations, artifacts: this._artifacts, shown };
    try {
      await judgement?.finish(rest);
    } catch (error) {
      await judgement?.survey(tlogProof);
      throw error;
    }
  }
}
