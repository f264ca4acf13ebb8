import { DEEPEST, levelFor } from "./tiles.js";

// What a window onto the recording shows: for every column of the picture and every unit the least
// and the largest value. A column is a row, or a pixel where rows are narrower than pixels. It is
// made of what is held: tiles, the newest rows, and coarser tiles where those are missing.

export class Field {
  constructor() {
    this.columns = 0;
    this.width = 0;
    this.space = [new Float32Array(0), new Float32Array(0)];
    this.nans = new Uint8Array(0);
  }

  /** Whether a column is a row: then the least and the largest value are the value. */
  get exact() {
    return this.wide >= 1;
  }

  /** Take in a window: `at` as `layout` gives it. */
  fill(store, at) {
    this.at = at;
    this.wide = at.column;
    this.width = store.width;
    const rows = at.last - at.first;
    this.columns = this.exact ? rows : Math.min(Math.ceil(at.plot), Math.ceil(rows * at.column));
    const need = this.columns * this.width;
    if (this.space[0].length < need) {
      this.space = [new Float32Array(need), new Float32Array(need)];
      this.nans = new Uint8Array(need);
    }
    const [lows, highs] = [this.lows, this.highs] = this.space;
    lows.fill(NaN, 0, need);
    highs.fill(NaN, 0, need);
    this.nans.fill(0, 0, need);
    const into = { lows, highs, nans: this.nans };
    const level = levelFor(at.column, store.width);
    for (let c = 0; c < this.columns; c++) {
      const stop = Math.min(at.last, this.rowOf(c + 1));
      for (let row = this.rowOf(c); row < stop;) {
        row = fold(store, level, row, stop, into, c * this.width);
      }
    }
    return this;
  }

  /** The first row of a column. */
  rowOf(c) {
    return this.exact ? this.at.first + c : this.at.first + Math.floor(c / this.wide);
  }

  /** The column that shows a row: `rowOf` says where it begins, and where the next one does. */
  columnOf(row) {
    const after = row + 1 - this.at.first;
    return this.exact ? after - 1 : Math.ceil(after * this.wide - 1e-9) - 1;
  }

  /** Of the values in a column the one of largest magnitude; NaN where nothing is known. */
  peak(c, unit) {
    const low = this.lows[c * this.width + unit];
    const high = this.highs[c * this.width + unit];
    return Math.abs(high) >= Math.abs(low) ? high : low;
  }

  /** The least and the largest value in a column. */
  ends(c, unit) {
    return [this.lows[c * this.width + unit], this.highs[c * this.width + unit]];
  }

  /** The sign of what is not finite in a column: × NaN, ↑ ∞, ↓ −∞; "" if all is. */
  odd(c, unit) {
    const i = c * this.width + unit;
    return this.nans[i] ? "×" : this.highs[i] === Infinity ? "↑" : this.lows[i] === -Infinity ? "↓" : "";
  }
}

/** Take the rows from `row` on into a column, as many as one source has of them; where it went. */
function fold(store, level, row, stop, into, at) {
  const { tiles, width } = store;
  if (row === 0 && store.first > 0) {
    merge(store.initial, store.initial, 0, into, at, width);
    return 1;
  }
  const tile = tiles.find(level, row);
  if (tile && tile.width === width) return bucket(tile, row, into, at, width);
  if (row >= store.first && row < store.end) {
    const end = Math.min(stop, store.end);
    for (let r = row; r < end; r++) {
      merge(store.data, store.data, (r - store.first) * width, into, at, width, r > 0);
    }
    return end;
  }
  for (let coarser = level + 1; coarser < DEEPEST; coarser++) {
    const found = tiles.find(coarser, row);
    if (found && found.width === width) return bucket(found, row, into, at, width);
  }
  const size = 2 ** level;
  return Math.max(1, 1 + (Math.floor((row - 1) / size) + 1) * size);
}

function bucket(tile, row, into, at, width) {
  const k = Math.floor((row - tile.start) / tile.size);
  merge(tile.lows, tile.highs, k * width, into, at, width, true);
  return Math.min(tile.stop, tile.start + (k + 1) * tile.size);
}

/** `fed`: not the initial row, in which inputs and outputs are NaN because there are none yet. */
function merge(fromLows, fromHighs, from, { lows, highs, nans }, at, width, fed = false) {
  for (let u = 0; u < width; u++) {
    const low = fromLows[from + u];
    const high = fromHighs[from + u];
    // what is there may be NaN, which is neither above nor below
    if (!(lows[at + u] <= low)) {
      if (low === low) lows[at + u] = low;
      else if (fed) nans[at + u] = 1;
    }
    if (!(highs[at + u] >= high)) if (high === high) highs[at + u] = high;
  }
}
