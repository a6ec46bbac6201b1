// The strip "As it was": says that the past is shown, which event it is, and the way back; and what stays whole.
import { showSeq } from "../run/seq.js";

export class Strip {
  /** @param {HTMLElement} root `#asof` */
  constructor(root) {
    this.root = root;
    this.whole = /** @type {HTMLElement} */ (document.getElementById("whole"));
    document.querySelector("#log .logbar")?.after(root);
  }

  /**
   * @param {{seq: number, time: number} | null} position null hides it
   * @param {number} lastSeq
   */
  show(position, lastSeq) {
    this.root.hidden = position === null;
    this.whole.hidden = this.root.hidden;
    if (position === null) return;
    showSeq(position.seq);
    write(this.root.querySelector("[data-head]"), lastSeq.toLocaleString("en"));
    write(this.root.querySelector("[data-as-of-time]"), `${new Date(position.time).toISOString().slice(11, 23)} UTC`);
  }

  /**
   * Puts the moment into the address, so that a link to the page leads to it.
   * @param {{seq: number} | null} position
   */
  remember(position) {
    const query = position === null ? "" : `?seq=${position.seq}`;
    if (location.search !== query) history.replaceState(history.state, "", `${location.pathname}${query}${location.hash}`);
  }
}

/**
 * @param {Element | null} target
 * @param {string} text
 */
function write(target, text) {
  if (target !== null && target.textContent !== text) target.textContent = text;
}
