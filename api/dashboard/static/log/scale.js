// Owns the scroll bar of a list that is higher than browsers allow: near moves are exact, far ones in proportion.

import { SCROLL_PX_MAX } from "./limits.js";

/** So far may the bar be from its place, in shares of its height, before it is put there. */
const SLACK = 0.02;

/** Maps places in the list (`y`, px from its start) to what the browser scrolls (`top`). */
export class Scale {
  /** @param {number} [pxMax] */
  constructor(pxMax = SCROLL_PX_MAX) {
    this.pxMax = pxMax;
    this.total = 0;
    /** What is added to `top` to get `y`: the same while the reader moves about nearby. */
    this.offset = 0;
  }

  /** @param {number} total height of the list */
  setTotal(total) {
    this.total = total;
  }

  /** Height of the element that is scrolled. */
  get height() {
    return Math.min(this.total, this.pxMax);
  }

  /**
   * Where to scroll so that `y` is at the top. Near both ends there is as much to scroll as there are rows.
   * @param {number} y
   * @param {number} view height of what is seen
   */
  topOf(y, view) {
    const near = 2 * view;
    const end = this.total - view;
    const last = this.height - view;
    if (this.total <= this.pxMax || y <= near) this.offset = 0;
    else if (end - y <= near) this.offset = this.total - this.height;
    else {
      const place = (y / end) * last;
      const top = y - this.offset;
      const isFar = Math.abs(top - place) > SLACK * this.height || top < view || top > last - view;
      if (isFar) this.offset = Math.round(y - Math.min(Math.max(place, near), last - near));
    }
    return y - this.offset;
  }

  /**
   * What is at the top after the reader scrolled. Behind a far move the bar stays where it was put: moved
   * from there, it would be farther off with every further move.
   * @param {number} top
   * @param {number} before where it was scrolled to before
   * @param {number} view
   */
  yOf(top, before, view) {
    if (this.total <= this.pxMax) return top;
    if (Math.abs(top - before) <= 2 * view) return top + this.offset;
    const y = (top / (this.height - view)) * (this.total - view);
    this.offset = Math.round(y - top);
    return top + this.offset;
  }
}
