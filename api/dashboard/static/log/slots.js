// Owns how many tabs hold a stream at once: a browser opens six connections to a host, for all its tabs.

import { STREAMS_MAX } from "./limits.js";

/**
 * Take one of the places of this browser for a lasting stream. Where the browser has no locks (plain http
 * beyond localhost) there is always one: a hidden tab holds none, so few are open.
 * @returns {Promise<(() => void)|null>} what gives the place back, null while all are taken
 */
export async function takeSlot() {
  const locks = globalThis.navigator?.locks;
  if (!locks) return () => undefined;
  for (let slot = 0; slot < STREAMS_MAX; slot += 1) {
    const release = await tryLock(locks, `crownest-stream-${slot}`);
    if (release) return release;
  }
  return null;
}

function tryLock(locks, name) {
  return new Promise((resolve, reject) => {
    const held = locks.request(name, { ifAvailable: true }, (lock) => {
      if (lock === null) return resolve(null);
      return new Promise((release) => resolve(() => release(undefined)));
    });
    held.catch(reject);
  });
}
