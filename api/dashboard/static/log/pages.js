// Owns the rows that the page has: fetched in pages, kept while they are near, fetched anew when they changed.

import { PAGE_ROWS, PAGES_COMING_MAX, PAGES_KEPT_MAX } from "./limits.js";

/** Rows by their place, from the worker. */
export class Pages {
  /**
   * @param {(from: number, to: number) => Promise<{rows: any[]}>} fetchRows
   * @param {() => void} arrived called when rows came
   */
  constructor(fetchRows, arrived) {
    this.fetchRows = fetchRows;
    this.arrived = arrived;
    this.clear();
  }

  /** Forget all; answers that are under way are dropped too. */
  clear() {
    /** @type {Map<number, {rows: any[], isStale: boolean}>} */
    this.pages = new Map();
    /** @type {Map<number, Promise<void>>} */
    this.coming = new Map();
  }

  /** The row at a place, undefined while it is not here. */
  at(index) {
    return this.pages.get(Math.floor(index / PAGE_ROWS))?.rows[index % PAGE_ROWS];
  }

  /** The place of the first row between two places that is here and meets a condition, -1 for none. */
  find(from, to, isMeant) {
    for (let index = from; index < to; index += 1) {
      const row = this.at(index);
      if (row !== undefined && isMeant(row)) return index;
    }
    return -1;
  }

  /** Rows from `changedFrom` on, open ones and those behind the end may look different now. */
  changed(changedFrom) {
    for (const page of this.pages.values()) {
      const last = page.rows[page.rows.length - 1];
      const mayChange = page.rows.length < PAGE_ROWS || last.row >= changedFrom || page.rows.some((row) => row.isOpen);
      if (mayChange) page.isStale = true;
    }
  }

  /**
   * Get what is missing or stale between two places; resolved when it is here. What is too much to ask for
   * at once is left out: whatever arrives makes the list ask again for what it needs by then.
   */
  async need(from, to) {
    const waits = [];
    for (let number = Math.floor(from / PAGE_ROWS); number * PAGE_ROWS < to; number += 1) {
      const page = this.pages.get(number);
      if (page !== undefined && !page.isStale) continue;
      const wait = this.coming.get(number) ?? (this.coming.size < PAGES_COMING_MAX ? this.get(number) : undefined);
      if (wait !== undefined) waits.push(wait);
    }
    if (waits.length > 0) await Promise.all(waits);
  }

  /** Whether all rows between two places are here, if only as they were. */
  has(from, to) {
    for (let number = Math.floor(from / PAGE_ROWS); number * PAGE_ROWS < to; number += 1) {
      if (!this.pages.has(number)) return false;
    }
    return true;
  }

  get(number) {
    const { pages, coming } = this;
    const known = pages.get(number);
    if (known) known.isStale = false;
    const asked = this.fetchRows(number * PAGE_ROWS, (number + 1) * PAGE_ROWS).finally(() => coming.delete(number));
    const wait = asked.then(({ rows }) => {
      if (pages !== this.pages) return;
      pages.set(number, { rows: kept(pages.get(number)?.rows, rows), isStale: pages.get(number)?.isStale ?? false });
      this.forgetFar(number);
      this.arrived();
    });
    coming.set(number, wait);
    return wait;
  }

  forgetFar(near) {
    while (this.pages.size > PAGES_KEPT_MAX) {
      let far = near;
      for (const number of this.pages.keys()) if (Math.abs(number - near) > Math.abs(far - near)) far = number;
      this.pages.delete(far);
    }
  }
}

/** A row that is finished, with another one behind it, never changes: what shows it stays too. */
function kept(before, rows) {
  if (before === undefined) return rows;
  return rows.map((row, at) => {
    const known = before[at];
    return known?.row === row.row && !known.isOpen && known.nextSeq !== 0 ? known : row;
  });
}
