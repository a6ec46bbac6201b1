// Owns how high the rows are, measured or supposed: where a row begins, and which row is at a place.

const BLOCK = 128;

/** Heights of rows in px. Every row has the usual height until it was measured. */
export class Heights {
  /** @param {number} usual */
  constructor(usual) {
    this.reset(usual);
    this.count = 0;
  }

  /** Forget what was measured. */
  reset(usual) {
    this.usual = usual;
    this.more = new Float32Array(1024);
    this.sums = new Float64Array(1024 / BLOCK + 1);
  }

  /** How many rows there are. */
  setCount(count) {
    this.count = count;
    if (count <= this.more.length) return;
    const grown = new Float32Array(2 ** Math.ceil(Math.log2(count)));
    grown.set(this.more);
    this.more = grown;
    this.sums = new Float64Array(grown.length / BLOCK + 1);
    // A Fenwick tree over blocks is made in one pass: every node passes its sum on to its parent.
    for (let block = 1; block < this.sums.length; block += 1) {
      for (let index = (block - 1) * BLOCK; index < block * BLOCK; index += 1) this.sums[block] += grown[index];
      const parent = block + (block & -block);
      if (parent < this.sums.length) this.sums[parent] += this.sums[block];
    }
  }

  /** Note the measured height of a row. */
  set(index, px) {
    const change = px - this.usual - this.more[index];
    if (Math.abs(change) < 0.01) return false;
    this.more[index] += change;
    for (let block = Math.floor(index / BLOCK) + 1; block < this.sums.length; block += block & -block) {
      this.sums[block] += change;
    }
    return true;
  }

  /** Where a row begins. */
  top(index) {
    let more = 0;
    const full = Math.floor(index / BLOCK);
    for (let block = full; block > 0; block -= block & -block) more += this.sums[block];
    for (let at = full * BLOCK; at < index; at += 1) more += this.more[at];
    return index * this.usual + more;
  }

  get total() {
    return this.top(this.count);
  }

  /** The row at `y`, the first or the last one beyond the ends. */
  indexAt(y) {
    if (this.count === 0 || y <= 0) return 0;
    let [block, left] = [0, y];
    for (let step = 2 ** Math.floor(Math.log2(this.sums.length - 1)); step >= 1; step /= 2) {
      const next = block + step;
      const height = next < this.sums.length ? this.sums[next] + step * BLOCK * this.usual : Infinity;
      if (height <= left) [block, left] = [next, left - height];
    }
    let index = block * BLOCK;
    const end = Math.min(this.count - 1, index + BLOCK);
    while (index < end && left >= this.usual + this.more[index]) {
      left -= this.usual + this.more[index];
      index += 1;
    }
    return Math.min(index, this.count - 1);
  }
}
