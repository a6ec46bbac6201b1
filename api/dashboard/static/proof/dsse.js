// Owns the envelope of an attestation: DSSE v1, one Ed25519 signature, one spelling (PROOF P11, P9.3).
// @ts-check

import { FormatError, concat, decodeBase64, encodeUtf8 } from "./bytes.js";
import { decodeCanonical, isObject } from "./json.js";
import { ED25519, SIGNATURE_BYTES, isKeyName } from "./note.js";

export const PAYLOAD_TYPE = "application/vnd.in-toto+json";
export const ENVELOPE_BYTES_MAX = 4 * 1024 * 1024;
const KEY_ID = /^[0-9a-f]{8}$/;

/** @typedef {{payload: Uint8Array, keyid: string, signature: Uint8Array}} Envelope */

/** The bytes that are signed: DSSE's pre-authentication encoding. @param {Uint8Array} payload */
const pae = (payload) =>
  concat(encodeUtf8(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `), payload);

/**
 * The key that has this keyid and made this signature, undefined when there is none.
 * @param {Envelope} envelope @param {import("./note.js").Verifier[]} keys
 */
export async function signerAmong({ payload, keyid, signature }, keys) {
  for (const key of keys) {
    if (key.type === ED25519 && key.id === keyid && (await key.isValid(pae(payload), signature))) return key;
  }
  return undefined;
}

/** @param {Uint8Array} bytes @returns {Envelope} Throws `FormatError`. */
export function parseEnvelope(bytes) {
  if (bytes.length > ENVELOPE_BYTES_MAX)
    throw new FormatError(`an attestation has at most ${ENVELOPE_BYTES_MAX} bytes`);
  const { payload, payloadType, signatures } = exactly(decodeCanonical(bytes), [
    "payload",
    "payloadType",
    "signatures",
  ]);
  if (payloadType !== PAYLOAD_TYPE) throw new FormatError(`the payloadType of an attestation is ${PAYLOAD_TYPE}`);
  if (!Array.isArray(signatures) || signatures.length !== 1)
    throw new FormatError("an attestation has exactly one signature");
  const { keyid, sig } = exactly(signatures[0], ["keyid", "sig"]);
  const [name, ...hexId] = text(keyid).split("+");
  if (!isKeyName(name) || !KEY_ID.test(hexId.join("+"))) {
    throw new FormatError("the keyid of an attestation is <key name>+<8 hex digits>");
  }
  const signature = decodeBase64(text(sig));
  if (signature.length !== SIGNATURE_BYTES) throw new FormatError(`an Ed25519 signature has ${SIGNATURE_BYTES} bytes`);
  return { payload: decodeBase64(text(payload)), keyid: text(keyid), signature };
}

/** @param {unknown} value @param {string[]} names @returns {{[key: string]: unknown}} An object with exactly these fields. */
function exactly(value, names) {
  if (!isObject(value) || Object.keys(value).sort().join() !== names.join()) {
    throw new FormatError(`here stands an object with ${names.join(", ")} and nothing else`);
  }
  return value;
}

/** @param {unknown} value @returns {string} */
function text(value) {
  if (typeof value !== "string") throw new FormatError("payload, keyid and sig are texts");
  return value;
}
