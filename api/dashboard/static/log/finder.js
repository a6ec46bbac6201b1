// Owns the search as the reader sees it: what is looked for, which hit is current, and "1 of 2".

import { counted } from "../shell/words.js";
import { folded } from "./fold.js";

/** One search field over one session. */
export class Finder {
  /**
   * @param {import("./session.js").RunSession} session
   * @param {{show: (hit: {row: number, nth: number}) => void, changed: () => void}} view
   */
  constructor(session, view) {
    this.session = session;
    this.view = view;
    this.text = "";
    this.found = { hits: 0, isDone: true, isCapped: false, rows: 0 };
    /** @type {{index: number, row: number, nth: number}|null} */
    this.current = null;
    /** The hit that is gone to, -1 for none: quick steps go on from here, not from where the reader still is. */
    this.wanted = -1;
    this.wantsFirstFrom = -1;
    session.addEventListener("found", (event) => this.hear(/** @type {CustomEvent} */ (event).detail));
  }

  /**
   * Look for something else; the first hit from `row` on becomes the current one.
   * @param {string} text
   */
  begin(text, streams, row) {
    this.text = text;
    this.needle = folded(text);
    this.current = null;
    this.wanted = -1;
    this.wantsFirstFrom = text === "" ? -1 : row;
    void this.session.search(text, streams);
    this.view.changed();
  }

  hear(found) {
    this.found = found;
    this.view.changed();
    if (this.wantsFirstFrom < 0 || found.hits === 0) return;
    if (found.isDone || found.rows > this.wantsFirstFrom) void this.goToFirst();
  }

  async goToFirst() {
    const from = this.wantsFirstFrom;
    this.wantsFirstFrom = -1;
    const index = await this.session.hitAfter(from);
    if (index < this.found.hits) await this.goTo(index);
    else if (this.found.isDone) await this.goTo(0);
    else this.wantsFirstFrom = from;
  }

  /** The next hit, or the previous one; behind the last comes the first. */
  async step(by) {
    if (this.found.hits === 0) return;
    const from = this.wanted < 0 && by < 0 ? 0 : this.wanted;
    await this.goTo((from + by + this.found.hits) % this.found.hits);
  }

  async goTo(index) {
    const text = this.text;
    this.wanted = index;
    const hit = await this.session.hit(index);
    if (text !== this.text || index !== this.wanted || hit.row === undefined) return;
    this.current = { index, ...hit };
    this.view.changed();
    this.view.show(hit);
  }

  get status() {
    if (this.text === "") return "";
    const { hits, isDone, isCapped } = this.found;
    if (hits === 0) return isDone ? "no match" : "searching";
    const total = isCapped ? `first ${counted(hits)}` : `${counted(hits)}${isDone ? "" : "+"}`;
    return this.current === null ? total : `${counted(this.current.index + 1)} of ${total}`;
  }

  /** Where in a text the hits begin. */
  matches(text) {
    const starts = [];
    const small = folded(text);
    for (let at = small.indexOf(this.needle); at >= 0; at = small.indexOf(this.needle, at + this.needle.length)) starts.push(at);
    return starts;
  }
}
