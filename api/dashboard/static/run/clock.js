// Clocks of what goes on: every `<span data-since>` counts on from its moment, in the server's time.
import { clockText, growingText } from "../shell/words.js";

const TICK_MS = 1000;

export class Clocks {
  /** @type {number | null} */
  #stoppedAt = null;
  #skewMs = 0;

  constructor() {
    setInterval(() => {
      if (!document.hidden && this.#stoppedAt === null) this.write();
    }, TICK_MS);
  }

  /**
   * Sets the server's clock: elapsed time must not depend on how this machine's clock is set.
   * @param {number} serverMs
   */
  synchronise(serverMs) {
    this.#skewMs = serverMs - Date.now();
  }

  /**
   * Stands at a moment of the past, or with null goes on with the present.
   * @param {number | null} ms
   */
  standAt(ms) {
    this.#stoppedAt = ms;
    this.write();
  }

  /** Writes all of them now. */
  write() {
    const now = this.#stoppedAt ?? Date.now() + this.#skewMs;
    for (const one of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-since]"))) {
      const elapsed = now - Date.parse(one.dataset.since ?? "");
      const text = one.dataset.form === "clock" ? clockText(elapsed) : growingText(elapsed);
      if (one.textContent !== text) one.textContent = text;
    }
  }
}
