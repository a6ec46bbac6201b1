// Owns whether this browser can check at all, and why not.
// @ts-check

import { decodeBase64 } from "./bytes.js";

/** The base point of the curve, a public key like any other. */
const SOME_KEY = "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=";

/** @returns {Promise<string | null>} What stands in the way, as a sentence; null where nothing does. */
export async function obstacle() {
  if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) {
    const host = globalThis.location?.host;
    return `This page came over plain http from ${host}. Browsers give cryptography (WebCrypto) to pages only over https, or from localhost.`;
  }
  try {
    await crypto.subtle.importKey("raw", /** @type {BufferSource} */ (decodeBase64(SOME_KEY)), "Ed25519", false, [
      "verify",
    ]);
  } catch {
    return "This browser’s WebCrypto does not know Ed25519, the kind of signature that records have.";
  }
  return null;
}
