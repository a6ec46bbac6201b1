// Owns the scroll bar of a list that is higher than browsers allow: near moves are exact, far ones in proportion.

import { SCROLL_PX_MAX } from "./limits.js";

const PAGES = 100;

/** Maps places in the list (`y`, px from its start) to what the browser scrolls (`top`). */
export class Scale {
  /** @param {number} [pxMax] */
  constructor(pxMax = SCROLL_PX_MAX) {
    this.pxMax = pxMax;
    this.total = 0;
    /** What is added to `top` to get `y`. */
    this.offset = 0;
  }

  /** @param {number} total height of the list */
  setTotal(total) {
    this.total = total;
    if (total <= this.pxMax) this.offset = 0;
  }

  /** Height of the element that is scrolled. */
  get height() {
    return Math.min(this.total, this.pxMax);
  }

  /** Where to scroll so that `y` is at the top. */
  topOf(y) {
    if (this.total <= this.pxMax) return y;
    const page = this.height / PAGES;
    const pages = Math.ceil(this.total / page);
    const shift = (this.total - this.height) / (pages - 1);
    this.offset = Math.round(Math.min(pages - 1, Math.floor(y / page)) * shift);
    return y - this.offset;
  }

  /**
   * What is at the top after the reader scrolled.
   * @param {number} top
   * @param {number} before where it was scrolled to before
   * @param {number} view height of what is seen
   */
  yOf(top, before, view) {
    if (this.total <= this.pxMax) return top;
    if (Math.abs(top - before) <= 2 * view) return top + this.offset;
    return (top / (this.height - view)) * (this.total - view);
  }
}
