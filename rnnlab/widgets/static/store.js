import { Tiles } from "./tiles.js";

// What the page knows of the recording: one table of float32 rows, row r being the record of
// step r (row 0: the initial state). The newest rows are held, `first` being the oldest of them,
// and row 0; what lies between comes as tiles, when it is looked at.

export class Store {
  constructor(tiles = new Tiles()) {
    this.tiles = tiles;
    this.initial = new Float32Array(0);
    this.most = null; // of each column, the largest magnitude held; null: not known
    this.width = 0;
    this.first = 0;
    this.count = 0;
    this.data = new Float32Array(0);
    this.place = { branch: "", t: 0, length: 0, position: null };
    this.seq = null;
    this.names = "";
  }

  get end() {
    return this.first + this.count;
  }

  /** Take in a message; false if something before it was missed and a snapshot is needed. */
  receive(message, rows, initial = rows.subarray(0, message.width)) {
    const missed = this.seq !== null && message.seq !== this.seq + 1;
    if (missed) this.tiles.cut(0);
    if (!message.whole && (this.seq === null || missed || !this.covers(message.start))) {
      return false;
    }
    this.seq = message.seq;
    this.place = message.place;
    if (message.whole) {
      this.tiles.cut(message.width === this.width ? message.kept ?? 0 : 0);
      this.width = message.width;
      this.first = message.start;
      this.count = 0;
      this.initial = initial.slice();
      this.most = null;
    } else {
      this.tiles.cut(message.start);
      if (message.start < this.end) this.most = null;
      this.count = message.start - this.first;
    }
    this.append(rows);
    return true;
  }

  /**
   * Ask for what a window (as `layout` gives it) shows and is not held, and for single rows; with
   * `path`, bit by bit for the rows before those held too, as far back as a path is drawn.
   */
  want(at, level, steps, path = false) {
    const { first, last, rows } = at;
    if (path) this.reachBack();
    const behind = path && this.first > 0 && this.count < Store.PATH ? this.first - 1 : 0;
    this.tiles.want({ first, last, level, rows, have: this.first, steps, behind });
  }

  /** Put rows that came as tiles before those held, where they meet. */
  reachBack() {
    for (let tile; this.first > 1 && this.count < Store.PATH;) {
      tile = this.tiles.find(0, this.first - 1);
      if (!tile || tile.width !== this.width) return;
      this.prepend(tile.lows.subarray(0, (this.first - tile.start) * this.width));
    }
    if (this.first === 1) this.prepend(this.initial);
  }

  prepend(rows) {
    const held = this.data.subarray(0, this.count * this.width);
    const grown = new Float32Array(Math.max(rows.length + held.length, this.data.length));
    grown.set(rows);
    grown.set(held, rows.length);
    this.data = grown;
    this.first -= rows.length / this.width;
    this.count += rows.length / this.width;
    if (this.most) widen(this.most, rows, rows.length, this.width);
  }

  covers(row) {
    return row >= this.first && row <= this.end;
  }

  append(rows) {
    if (!rows.length) return;
    const need = this.count * this.width + rows.length;
    if (need > this.data.length) {
      const grown = new Float32Array(Math.max(need, 2 * this.data.length, 64 * this.width));
      grown.set(this.data.subarray(0, this.count * this.width));
      this.data = grown;
    }
    this.data.set(rows, this.count * this.width);
    if (this.most) widen(this.most, rows, rows.length, this.width);
    this.count += rows.length / this.width;
    if (this.count > Store.CAPACITY) {
      const drop = this.count - Store.CAPACITY / 2;
      this.data.copyWithin(0, drop * this.width, this.count * this.width);
      this.first += drop;
      this.count -= drop;
    }
  }

  /** The value of a unit (column) at a row; NaN where it is not held. */
  value(row, column) {
    if (row >= this.first && row < this.end) {
      return this.data[(row - this.first) * this.width + column];
    }
    if (row === 0) return this.initial[column] ?? NaN;
    const tile = row > 0 ? this.tiles.find(0, row) : undefined;
    return tile ? tile.lows[(row - tile.start) * this.width + column] : NaN;
  }

  /** Whether the values of a row are here. */
  holds(row) {
    return row === 0 || (row >= this.first && row < this.end) || Boolean(this.tiles.find(0, row));
  }

  /** The largest magnitude of the columns from … to over all that is held. */
  magnitude(from, to) {
    if (!this.most) {
      this.most = new Float32Array(this.width);
      widen(this.most, this.data, this.count * this.width, this.width);
    }
    let found = this.tiles.magnitude(from, to);
    for (let c = from; c < to; c++) if (this.most[c] > found) found = this.most[c];
    return found;
  }
}

/** Raise the magnitudes of the columns to those of rows. */
function widen(most, rows, length, width) {
  for (let i = 0; i < length; i++) {
    const v = Math.abs(rows[i]);
    if (v > most[i % width] && v !== Infinity) most[i % width] = v;
  }
}

Store.CAPACITY = 8192;
Store.PATH = 4096; // rows of a path, at the most

/** A view of one buffer of a message as float32 numbers, whatever its alignment. */
export function floats(buffers, number = 0) {
  if (buffers.length <= number) return new Float32Array(0);
  const { buffer, byteOffset, byteLength } = buffers[number];
  const aligned = byteOffset % 4 === 0;
  return aligned
    ? new Float32Array(buffer, byteOffset, byteLength / 4)
    : new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
}
