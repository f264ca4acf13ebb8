// What the page knows of the recording: one table of float32 rows, row r being the record of
// step r (row 0: the initial state). Only a window is held; `first` is its oldest row.

export class Store {
  constructor() {
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
  receive(message, rows) {
    const missed = this.seq !== null && message.seq !== this.seq + 1;
    if (!message.whole && (this.seq === null || missed || !this.covers(message.start))) {
      return false;
    }
    this.seq = message.seq;
    this.place = message.place;
    if (message.whole) {
      this.width = message.width;
      this.first = message.start;
      this.count = 0;
    } else {
      this.count = message.start - this.first;
    }
    this.append(rows);
    return true;
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
    this.count += rows.length / this.width;
    if (this.count > Store.CAPACITY) {
      const drop = this.count - Store.CAPACITY / 2;
      this.data.copyWithin(0, drop * this.width, this.count * this.width);
      this.first += drop;
      this.count -= drop;
    }
  }

  /** The value of a unit (column) at a row; NaN where nothing is held. */
  value(row, column) {
    if (row < this.first || row >= this.end) return NaN;
    return this.data[(row - this.first) * this.width + column];
  }

  /** The largest magnitude of the columns from … to over all rows held. */
  magnitude(from, to) {
    let most = 0;
    for (let r = 0; r < this.count; r++) {
      for (let c = r * this.width + from, end = r * this.width + to; c < end; c++) {
        const v = Math.abs(this.data[c]);
        if (v > most && v !== Infinity) most = v;
      }
    }
    return most;
  }
}

Store.CAPACITY = 8192;

/** A view of a message's first buffer as float32 numbers, whatever its alignment. */
export function floats(buffers) {
  if (!buffers.length) return new Float32Array(0);
  const { buffer, byteOffset, byteLength } = buffers[0];
  const aligned = byteOffset % 4 === 0;
  return aligned
    ? new Float32Array(buffer, byteOffset, byteLength / 4)
    : new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
}
