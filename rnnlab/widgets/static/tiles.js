// Older history, as the kernel serves it: for each unit the least and the largest value of a
// bucket of 2^level steps, a tile being so many buckets. Tiles lie at fixed places of the
// recording, so that those of the last view serve the next. Row r of the page is step r; row 0,
// the initial state, is in no tile.

export const BUCKETS = 256;
const AT_ONCE = 2;
const ROOM = 32e6;
export const DEEPEST = 32; // levels there are

/** Rows of a tile of a level. */
export const spanOf = (level) => BUCKETS * 2 ** level;

/** Which tile of a level has a row. */
export const indexOf = (level, row) => Math.floor((row - 1) / spanOf(level));

/** The level for a column of so many pixels a row: buckets of about a pixel, more for wide rows. */
export const levelFor = (column, width = 1) =>
  column >= 1 ? 0 : Math.max(0, Math.round(Math.log2(Math.max(1, width / 512) / column)));

/** The level at which one tile holds so many rows. */
export const levelOfAll = (rows) => Math.max(0, Math.ceil(Math.log2(Math.max(1, rows - 1) / BUCKETS)));

const keyOf = (level, index) => index * DEEPEST + level;

export class Tiles {
  /** `send({ level, index })` asks for a tile and gives the number of the request. */
  constructor(send = () => null) {
    this.send = send;
    this.held = new Map(); // in the order of their last use
    this.asked = new Map(); // number of a request → key
    this.refused = new Set();
    this.wanted = [];
    this.bytes = 0;
  }

  /** Whether the present view still waits for something. */
  get waiting() {
    return this.wanted.length + this.asked.size > 0;
  }

  /** The tile of a level that knows a row, if it is held. */
  find(level, row) {
    const tile = this.held.get(keyOf(level, indexOf(level, row)));
    return tile && row < tile.stop ? tile : undefined;
  }

  /**
   * What a view of the rows first … last needs, `rows` being all there are and those from `have`
   * on being held elsewhere: a tile of everything, to have something to draw; the tiles of the
   * view; their neighbours. Only the newest call counts: of the last one's wishes those that were
   * not sent yet are forgotten. `steps` are single rows that are wanted too, and last of all the
   * row `behind`, if it is not 0.
   */
  want({ first, last, level, rows, have, steps = [], behind = 0 }) {
    const wishes = [];
    const wish = (at, index, begin = 0, end = rows) => {
      const start = 1 + index * spanOf(at);
      const key = keyOf(at, index);
      const tile = this.held.get(key);
      if (tile) {
        this.held.delete(key);
        this.held.set(key, tile);
      }
      const known = Math.max(begin, tile?.stop ?? start);
      const lacks = index >= 0 && known < Math.min(start + spanOf(at), have, end, rows);
      if (lacks && !this.refused.has(key)) wishes.push([at, index]);
    };
    const from = indexOf(level, Math.max(1, first));
    const to = indexOf(level, Math.max(1, last - 1));
    for (let index = from; index <= to; index++) wish(level, index, first, last);
    for (const row of steps) if (row > 0 && row < rows) wish(0, indexOf(0, row), row, row + 1);
    if (wishes.length) {
      const here = wishes.splice(0);
      wish(Math.max(level, levelOfAll(rows)), 0);
      wishes.push(...here);
    }
    if (level > 0 || first < have) [from - 1, to + 1].forEach((index) => wish(level, index));
    if (behind) wish(0, indexOf(0, behind), behind, behind + 1);
    this.wanted = wishes;
    this.pump();
  }

  pump() {
    const underway = new Set(this.asked.values());
    while (this.wanted.length && this.asked.size < AT_ONCE) {
      const [level, index] = this.wanted.shift();
      const key = keyOf(level, index);
      if (underway.has(key)) continue;
      underway.add(key);
      const id = this.send({ level, index });
      if (id !== null) this.asked.set(id, key);
    }
  }

  /** Take in an answer; `stop` is the first row that it does not know. */
  take({ id, level, index, stop }, lows, highs) {
    this.asked.delete(id);
    const key = keyOf(level, index);
    const start = 1 + index * spanOf(level);
    this.drop(key);
    if (stop > start) {
      const size = 2 ** level;
      const width = lows.length / Math.ceil((stop - start) / size);
      this.held.set(key, { level, start, stop, size, width, lows, highs, most: reachOf(lows, highs, width) });
      this.bytes += bytesOf(lows, highs);
    }
    for (const oldest of this.held.keys()) {
      if (this.bytes <= ROOM) break;
      this.drop(oldest);
    }
    this.pump();
  }

  /** A request was answered, or will never be: a tile that did not come is not asked for again. */
  settle(id) {
    const key = this.asked.get(id);
    if (key === undefined) return false;
    this.asked.delete(id);
    this.refused.add(key);
    this.pump();
    return true;
  }

  /** Rows from `row` on are no longer as they were. */
  cut(row) {
    this.refused.clear();
    for (const [key, tile] of this.held) {
      if (tile.stop <= row) continue;
      const whole = tile.start + Math.floor((row - tile.start) / tile.size) * tile.size;
      if (whole > tile.start) tile.stop = whole;
      else this.drop(key);
    }
  }

  drop(key) {
    const tile = this.held.get(key);
    if (!tile) return;
    this.bytes -= bytesOf(tile.lows, tile.highs);
    this.held.delete(key);
  }

  /** The largest magnitude of the columns from … to in all that is held. */
  magnitude(from, to) {
    let found = 0;
    for (const tile of this.held.values()) {
      for (let c = from; c < to; c++) if (tile.most[c] > found) found = tile.most[c];
    }
    return found;
  }
}

const bytesOf = (lows, highs) => lows.byteLength + (highs === lows ? 0 : highs.byteLength);

function reachOf(lows, highs, width) {
  const found = new Float32Array(width);
  for (const ends of highs === lows ? [lows] : [lows, highs]) {
    for (let i = 0; i < ends.length; i++) {
      const v = Math.abs(ends[i]);
      if (v > found[i % width] && v !== Infinity) found[i % width] = v;
    }
  }
  return found;
}
