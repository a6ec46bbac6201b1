// Owns the policy file: which keys are trusted, and which witnesses are enough (PROOF P6, C2SP tlog-policy).
// @ts-check

import { FormatError, decodeUtf8 } from "./bytes.js";
import { COSIGNATURE, ED25519, Verifier, publicKeyText } from "./note.js";
import { parseDecimal } from "./record.js";

const POLICY_BYTES_MAX = 256 * 1024;
const KEYS_MAX = 256;
const NONE = "none";
const DIRECTIVE = "#crownest";
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/;
const KEY_ID = /^[0-9a-f]{8}$/;

/** What is trusted. `quorum` is the name of a witness or group, null without witnesses. */
export class Policy {
  constructor() {
    /** @type {Verifier[]} */
    this.logs = [];
    /** @type {Map<string, Verifier>} */
    this.witnesses = new Map();
    /** @type {Map<string, {threshold: number, members: string[]}>} */
    this.groups = new Map();
    /** @type {string | null} */
    this.quorum = null;
    /** @type {Verifier[]} */
    this.attestationKeys = [];
    /** Key id in hex of a retired key -> the log's size up to which it counts. @type {Map<string, number>} */
    this.until = new Map();
  }

  /** Are the witnesses of these names enough? @param {Iterable<string>} cosigned */
  isQuorum(cosigned) {
    return this.quorum === null || this._isMet(this.quorum, new Set(cosigned));
  }

  /** How many witnesses must have cosigned at least. */
  get needed() {
    return this.quorum === null ? 0 : this._fewest(this.quorum);
  }

  /** @param {string} name @param {Set<string>} cosigned @returns {boolean} */
  _isMet(name, cosigned) {
    const group = this.groups.get(name);
    if (!group) return cosigned.has(name);
    return group.members.filter((member) => this._isMet(member, cosigned)).length >= group.threshold;
  }

  /** @param {string} name @returns {number} */
  _fewest(name) {
    const group = this.groups.get(name);
    if (!group) return 1;
    const each = group.members.map((member) => this._fewest(member)).sort((a, b) => a - b);
    return each.slice(0, group.threshold).reduce((sum, count) => sum + count, 0);
  }
}

/**
 * Read a policy file.
 * @param {Uint8Array} bytes
 * @returns {Promise<Policy>} Throws `FormatError`, naming the line.
 */
export async function parsePolicy(bytes) {
  if (bytes.length > POLICY_BYTES_MAX) throw new FormatError(`a policy has at most ${POLICY_BYTES_MAX} bytes`);
  const text = decodeUtf8(bytes);
  if (text && !text.endsWith("\n")) throw new FormatError("the last line of a policy ends with LF: the file was cut");
  const reader = new Reader();
  for (const [at, line] of text.split("\n").entries()) {
    try {
      await reader.read(line);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw new FormatError(`policy line ${at + 1}: ${error.message}`);
    }
  }
  return reader.finish();
}

/** Reads line after line into a policy. */
class Reader {
  constructor() {
    this._policy = new Policy();
    this._hasQuorum = false;
  }

  /** @param {string} line */
  async read(line) {
    if (CONTROL.test(line)) throw new FormatError("a control character");
    const words = line.replace(/^[ \t]+|[ \t]+$/g, "").split(/[ \t]+/);
    const [first, ...rest] = words;
    const policy = this._policy;
    if (first === DIRECTIVE) {
      await this._directive(rest);
    } else if (first === "#" && rest[0] === "crownest" && ["attestation", "until"].includes(rest[1])) {
      throw new FormatError(`a directive is spelled ${DIRECTIVE}, without a space behind the #`);
    } else if (first === "log" && [1, 2].includes(rest.length)) {
      policy.logs.push(await this._newKey(rest[0], ED25519));
    } else if (first === "witness" && [2, 3].includes(rest.length)) {
      this._define(rest[0]);
      policy.witnesses.set(rest[0], await this._newKey(rest[1], COSIGNATURE));
    } else if (first === "group" && rest.length >= 2) {
      this._addGroup(rest[0], rest[1], rest.slice(2));
    } else if (first === "quorum" && rest.length === 1) {
      this._setQuorum(rest[0]);
    } else if (!first.startsWith("#") && !(words.length === 1 && first === "")) {
      throw new FormatError(`'${first.slice(0, 40)}' is no line of a policy, or has other words than it needs`);
    }
  }

  finish() {
    const policy = this._policy;
    if (!policy.logs.length) throw new FormatError("the policy names no log key: nothing could be trusted");
    if (!this._hasQuorum) {
      throw new FormatError("a policy has exactly one quorum line; without witnesses it is 'quorum none'");
    }
    const known = new Set([...policy.logs, ...policy.attestationKeys].map((key) => key.keyId));
    for (const keyId of policy.until.keys()) {
      if (!known.has(keyId)) throw new FormatError(`until ${keyId}: the policy has no key with this id`);
    }
    return policy;
  }

  /** @param {string[]} words */
  async _directive([what, first, second, ...rest]) {
    const policy = this._policy;
    if (what === "attestation" && first !== undefined && second === undefined) {
      policy.attestationKeys.push(await this._newKey(first, ED25519));
    } else if (what === "until" && KEY_ID.test(first ?? "") && second !== undefined && !rest.length) {
      if (policy.until.has(first)) throw new FormatError(`until ${first} stands here twice`);
      policy.until.set(first, parseDecimal(second));
    } else {
      throw new FormatError("a #crownest line is 'attestation <key>' or 'until <key id> <log size>'");
    }
  }

  /** Log, attestations and each witness have keys of their own (P6). @param {string} text @param {number} type */
  async _newKey(text, type) {
    const key = await Verifier.parse(text);
    const policy = this._policy;
    if (key.type !== type) throw new FormatError(`key ${key.name}: this line needs a key of another type`);
    const others = [...policy.logs, ...policy.witnesses.values(), ...policy.attestationKeys];
    if (others.some((other) => publicKeyText(other) === publicKeyText(key))) {
      throw new FormatError(`key ${key.name} stands here twice`);
    }
    if (others.length >= KEYS_MAX) throw new FormatError(`a policy has at most ${KEYS_MAX} keys`);
    return key;
  }

  /** @param {string} name */
  _isKnown(name) {
    return this._policy.witnesses.has(name) || this._policy.groups.has(name);
  }

  /** @param {string} name */
  _define(name) {
    if (name === NONE || this._isKnown(name)) throw new FormatError(`the name '${name.slice(0, 40)}' is taken`);
  }

  /** @param {string} name @param {string} threshold @param {string[]} members */
  _addGroup(name, threshold, members) {
    this._define(name);
    const groups = this._policy.groups;
    const unknown = members.find((member) => !this._isKnown(member));
    if (unknown !== undefined) throw new FormatError(`'${unknown.slice(0, 40)}' is not defined above`);
    if (new Set(members).size !== members.length || !members.length) {
      throw new FormatError("a group names each of its members once, and at least one");
    }
    const used = new Set([...groups.values()].flatMap((group) => group.members));
    if (members.some((member) => used.has(member))) {
      throw new FormatError("a witness or group counts in one group only");
    }
    if (groups.size >= KEYS_MAX) throw new FormatError(`a policy has at most ${KEYS_MAX} groups`);
    const needed = threshold === "any" ? 1 : threshold === "all" ? members.length : parseDecimal(threshold);
    if (needed < 1 || needed > members.length) {
      throw new FormatError("the threshold of a group is 1 to the number of its members");
    }
    groups.set(name, { threshold: needed, members });
  }

  /** @param {string} name */
  _setQuorum(name) {
    if (this._hasQuorum) throw new FormatError("a second quorum line");
    if (name !== NONE && !this._isKnown(name)) throw new FormatError(`'${name.slice(0, 40)}' is not defined above`);
    this._policy.quorum = name === NONE ? null : name;
    this._hasQuorum = true;
  }
}
