// Owns the virtual list: of a million rows those near the view are elements, and what is read keeps its place.

import { Heights } from "./heights.js";
import { FRAMES_AHEAD, HELD_MS_MAX, OVERSCAN, PACE_MS_MAX } from "./limits.js";
import { Pages } from "./pages.js";
import { Scale } from "./scale.js";

const PASSES_MAX = 4;
/** Space under the last row. */
const END_PX = 8;
/** So near to the end counts as at the end. */
const AT_END_PX = 4;

/**
 * @typedef {object} ListSource
 * @property {(from: number, to: number) => Promise<{rows: any[]}>} fetchRows
 * @property {(row: any, index: number) => HTMLElement} make
 * @property {() => HTMLElement} makeWaiting what stands for a row that is not here yet
 * @property {() => void} moved called when what is seen changed, or following began or ended
 */

/** Rows in an element that scrolls. Emits nothing; calls `source.moved`. */
export class VirtualList {
  /**
   * @param {HTMLElement} scroller
   * @param {ListSource} source
   * @param {{pxMax?: number}} [options]
   */
  constructor(scroller, source, { pxMax } = {}) {
    this.scroller = scroller;
    this.source = source;
    this.space = document.createElement("div");
    this.space.className = "space";
    this.box = document.createElement("div");
    this.box.className = "rows";
    this.space.append(this.box);
    scroller.append(this.space);
    this.heights = new Heights(19);
    this.scale = new Scale(pxMax);
    this.pages = new Pages((from, to) => source.fetchRows(from, to), () => this.schedule());
    /** @type {Map<number, {row: any, element: HTMLElement}>} */
    this.elements = new Map();
    /** A row that keeps its place, mostly the one at the top of the view, and how far below it the view begins. */
    this.anchor = { index: 0, dy: 0 };
    this.isFollowing = true;
    this.isWrapped = false;
    this.placedTop = 0;
    /** How far the reader scrolled last, in px, and when. */
    this.pace = { px: 0, at: -Infinity };
    /** Where the rows are that are shown, in px below the top of the view, and whether none was missing there. */
    this.shown = { boxTop: 0, isWhole: false };
    this.heldTimer = 0;
    this.landTimer = 0;
    this.frame = 0;
    this.wantedCount = 0;
    this.isGrowing = false;
    scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.resized()).observe(scroller);
  }

  get count() {
    return this.heights.count;
  }

  get view() {
    return this.scroller.clientHeight;
  }

  /** Where the view begins. */
  get y() {
    if (this.isFollowing) return Math.max(0, this.totalPx - this.view);
    const y = this.heights.top(this.anchor.index) + this.anchor.dy;
    return Math.max(0, Math.min(y, this.totalPx - this.view));
  }

  get totalPx() {
    return this.heights.total + END_PX;
  }

  /** The first and the last row that are seen, at least in part. */
  get seen() {
    return { first: this.heights.indexAt(this.y), last: this.heights.indexAt(this.y + this.view - 1) };
  }

  /**
   * There are `count` rows now, and those from `changedFrom` on look different. The rows at the end are
   * fetched before they are shown, so that nothing flickers.
   */
  async grow(count, changedFrom) {
    this.pages.changed(changedFrom);
    this.wantedCount = count;
    if (this.isGrowing) return;
    this.isGrowing = true;
    const pages = this.pages;
    try {
      for (let shown = -1; shown !== this.wantedCount && pages === this.pages; ) {
        shown = this.wantedCount;
        await this.needAround(shown);
        this.heights.setCount(shown);
        this.draw();
      }
    } finally {
      this.isGrowing = false;
    }
  }

  async needAround(count) {
    const rows = Math.ceil(this.view / this.heights.usual) + 2;
    if (this.isFollowing) await this.pages.need(Math.max(0, count - rows), count);
    else await this.pages.need(this.seen.first, Math.min(count, this.seen.last + 1));
  }

  /** Other rows are seen from now on, `count` of them; `index` goes to the top, -1 follows the end. */
  replace(count, index, dy = 0) {
    this.pages.clear();
    this.wantedCount = count;
    this.heights.reset(this.heights.usual);
    this.heights.setCount(count);
    this.box.style.minWidth = "";
    this.isFollowing = index < 0;
    this.anchor = { index: Math.max(0, index), dy };
    this.draw();
  }

  /** The rows look different though they are the same. */
  remake() {
    for (const known of this.elements.values()) known.row = null;
    this.draw();
  }

  /** Rows are wrapped or not, or another size. */
  setLayout({ isWrapped, usual }) {
    this.isWrapped = isWrapped;
    this.anchor = this.anchorAt(this.y);
    this.heights.reset(usual);
    this.heights.setCount(this.count);
    this.box.style.minWidth = "";
    this.remake();
  }

  resized() {
    if (this.isWrapped) this.setLayout({ isWrapped: true, usual: this.heights.usual });
    else this.draw();
  }

  /** Show the end, and stay there. */
  follow() {
    this.isFollowing = true;
    this.draw();
  }

  /** Let what is seen stay where it is. */
  stay() {
    if (!this.isFollowing) return;
    this.anchor = this.anchorAt(this.y);
    this.isFollowing = false;
    this.source.moved();
  }

  /**
   * Show a row.
   * @param {number} index
   * @param {"start"|"center"|"near"} where `near`: only as far as it takes to see it
   */
  show(index, where = "center") {
    const [from, to] = [this.heights.top(index), this.heights.top(index + 1)];
    let y = where === "start" ? from : from - Math.max(0, (this.view - this.heights.usual) / 2);
    if (where === "near") y = Math.min(from, Math.max(this.y, to - this.view));
    this.isFollowing = false;
    // Rows above it may turn out higher than supposed: what is to be shown is what keeps its place.
    this.anchor = { index, dy: y - from };
    this.draw();
  }

  /** Move by px; as the reader's wheel does, but exact. */
  moveBy(px) {
    this.moveTo(this.y + px);
    this.draw();
  }

  moveTo(y) {
    const end = Math.max(0, this.totalPx - this.view);
    const isUp = y < this.y;
    this.anchor = this.anchorAt(Math.min(Math.max(0, y), end));
    this.isFollowing = y >= end - AT_END_PX && !(isUp && y < end);
  }

  anchorAt(y) {
    const index = this.heights.indexAt(y);
    return { index, dy: y - this.heights.top(index) };
  }

  scrolled() {
    const top = this.scroller.scrollTop;
    if (Math.abs(top - this.placedTop) < 1) return;
    const y = this.scale.yOf(top, this.placedTop, this.view);
    this.placedTop = top;
    this.pace = { px: y - this.y, at: performance.now() };
    this.moveTo(y);
    this.schedule();
    clearTimeout(this.landTimer);
    if (this.isFlying) this.landTimer = setTimeout(() => this.schedule(), PACE_MS_MAX);
  }

  /** Whether the reader scrolls so far in one frame that no row of it is seen in the next. */
  get isFlying() {
    return Math.abs(this.pace.px) > this.view && performance.now() - this.pace.at < PACE_MS_MAX;
  }

  schedule() {
    if (this.frame !== 0) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /** Elements for what is near, measured, and everything put where it belongs. */
  draw() {
    if (this.view === 0) return;
    for (let pass = 0; pass < PASSES_MAX; pass += 1) {
      this.scale.setTotal(this.totalPx);
      const y = this.y;
      const top = this.scale.topOf(y, this.view);
      const isHeld = this.isHeld();
      const [first, last] = this.near(y);
      if (!isHeld) this.fill(first, last);
      const boxTop = isHeld ? this.shown.boxTop : this.heights.top(first) - y;
      this.space.style.height = `${this.scale.height}px`;
      this.box.style.transform = `translateY(${top + boxTop}px)`;
      if (!isHeld && this.measure() && pass < PASSES_MAX - 1) continue;
      this.place(top);
      this.ask(y);
      if (!isHeld) this.shown = { boxTop, isWhole: this.isHere() };
      break;
    }
    this.source.moved();
  }

  /**
   * The places of the rows that are made when the view begins at `y`: from, and without to. Rows beside the view
   * would be thrown away unseen while the reader flies by: they are made when he has landed.
   */
  near(y) {
    if (this.count === 0) return [0, 0];
    const spare = this.isFlying ? 0 : this.view * OVERSCAN;
    return [this.heights.indexAt(y - spare), this.heights.indexAt(y + this.view + spare) + 1];
  }

  /** Whether the rows that are seen are here. */
  isHere() {
    const { first, last } = this.seen;
    return this.pages.has(first, Math.min(this.count, last + 1));
  }

  /**
   * Whether what was shown stays while the rows that belong here are on their way, instead of nothing. It
   * stays only for a moment: a reader who waits longer shall see that there is something to wait for.
   */
  isHeld() {
    if (!this.shown.isWhole || this.isHere()) {
      clearTimeout(this.heldTimer);
      this.heldTimer = 0;
      return false;
    }
    if (this.heldTimer === 0) this.heldTimer = setTimeout(() => this.letGo(), HELD_MS_MAX);
    return true;
  }

  letGo() {
    this.shown.isWhole = false;
    this.schedule();
  }

  /** Ask for the rows near `y`, and for those that come if the reader scrolls on as in the last frame. */
  ask(y) {
    const frames = performance.now() - this.pace.at < PACE_MS_MAX ? FRAMES_AHEAD : 0;
    for (let ahead = 0; ahead <= frames; ahead += 1) void this.pages.need(...this.near(y + ahead * this.pace.px));
  }

  place(top) {
    if (Math.abs(this.scroller.scrollTop - top) >= 1) this.scroller.scrollTop = top;
    this.placedTop = this.scroller.scrollTop;
  }

  fill(first, last) {
    for (const [index, { element }] of this.elements) {
      if (index >= first && index < last) continue;
      element.remove();
      this.elements.delete(index);
    }
    let next = /** @type {ChildNode|null} */ (this.box.firstChild);
    for (let index = first; index < last; index += 1) {
      const row = this.pages.at(index);
      const known = this.elements.get(index);
      const isSame = known !== undefined && (known.row === row || row === undefined);
      const element = isSame ? known.element : row === undefined ? this.source.makeWaiting() : this.source.make(row, index);
      if (!isSame) this.elements.set(index, { row, element });
      if (known && !isSame) {
        if (next === known.element) next = next.nextSibling;
        known.element.remove();
      }
      if (element === next) next = next.nextSibling;
      else this.box.insertBefore(element, next);
    }
  }

  /** Note the heights that differ; true if one did, and what was placed must be placed again. */
  measure() {
    let hasChanged = false;
    for (const [index, { row, element }] of this.elements) {
      if (!row) continue;
      const isUsual = !this.isWrapped && row.kind !== "fact" && !element.dataset.high;
      if (isUsual) continue;
      if (this.heights.set(index, element.getBoundingClientRect().height)) hasChanged = true;
    }
    if (!this.isWrapped && this.box.offsetWidth > (parseFloat(this.box.style.minWidth) || this.scroller.clientWidth)) {
      this.box.style.minWidth = `${this.box.offsetWidth}px`;
    }
    return hasChanged;
  }
}
