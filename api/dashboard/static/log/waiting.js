// Owns the two ways to wait in the worker: until something wakes it, and only so long that others get their turn.

const channel = new MessageChannel();
/** @type {(() => void)[]} */
const turns = [];
channel.port1.onmessage = () => turns.shift()?.();

/** Let waiting messages be answered; unlike a timer it costs no milliseconds. */
export function breathe() {
  return new Promise((resolve) => {
    turns.push(() => resolve(undefined));
    channel.port2.postMessage(null);
  });
}

/** A sleep that can be ended early. */
export class Wakeable {
  constructor() {
    this.end = () => undefined;
  }

  /** @param {number} ms Infinity: until woken */
  sleep(ms) {
    return new Promise((resolve) => {
      const timer = ms === Infinity ? 0 : setTimeout(resolve, ms);
      this.end = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  wake() {
    this.end();
  }
}
