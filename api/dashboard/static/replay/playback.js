// The pace of a replay: where it stands after a while, at a speed, with or without idle stretches.

/** Silence longer than this is idle: a replay that skips it goes on shortly before the next event. */
export const IDLE_MS = 1000;
export const LEAD_MS = 250;
export const SPEEDS = [1, 2, 4, 8, 16, 32];

/**
 * The moment that a replay shows next.
 * @param {object} at
 * @param {number} at.time the moment that it showed, ms
 * @param {number} at.nextTime when the next event happened, ms
 * @param {number} at.elapsedMs how long it has been shown
 * @param {number} at.speed recorded milliseconds for each millisecond
 * @param {boolean} at.skipIdle
 * @returns {number} ms
 */
export function nextMoment({ time, nextTime, elapsedMs, speed, skipIdle }) {
  const isIdle = skipIdle && nextTime - time > IDLE_MS;
  const from = isIdle ? nextTime - LEAD_MS : time;
  return from + elapsedMs * speed;
}

/**
 * The speed one step faster or slower.
 * @param {number} speed one of SPEEDS
 * @param {1 | -1} step
 * @returns {number}
 */
export function otherSpeed(speed, step) {
  const index = Math.min(Math.max(SPEEDS.indexOf(speed) + step, 0), SPEEDS.length - 1);
  return SPEEDS[index];
}
