// What the run said before all of its page was loaded: held for those who come after the log.

/** Says the "facts" of a session as the session does, the first ones when it is asked to begin. */
export class LateFacts extends EventTarget {
  /** @type {any[] | null} null: they listen */
  #held = [];

  /** @param {EventTarget} session */
  constructor(session) {
    super();
    session.addEventListener("facts", (event) => this.#take(/** @type {CustomEvent} */ (event).detail.events));
  }

  /** Says what was held, and goes on with what comes. */
  begin() {
    const held = this.#held ?? [];
    this.#held = null;
    if (held.length > 0) this.#take(held);
  }

  /** @param {any[]} events */
  #take(events) {
    if (this.#held === null) this.dispatchEvent(new CustomEvent("facts", { detail: { events } }));
    else for (const event of events) this.#held.push(event);
  }
}
