import assert from "node:assert/strict";
import { test } from "node:test";
import { Field } from "../../../rnnlab/widgets/static/field.js";
import { Store } from "../../../rnnlab/widgets/static/store.js";
import { Tiles, indexOf, levelFor, levelOfAll } from "../../../rnnlab/widgets/static/tiles.js";

const RARE = 700; // one step stands out
const value = (step) => (step === RARE ? -90 : (step % 7) + step / 1e6);

/** A recording of one unit, whose kernel answers when it is told to. */
function kernel(steps) {
  const asked = [];
  const tiles = new Tiles((wanted) => asked.push(wanted));
  const answer = () => {
    for (const [k, { level, index, done }] of asked.entries()) {
      if (done) continue;
      asked[k].done = true;
      const size = 2 ** level;
      const start = 1 + index * 256 * size;
      const stop = Math.min(start + 256 * size, steps + 1);
      const ends = [[], []];
      for (let row = start; row < stop; row += size) {
        const all = Array.from({ length: Math.min(size, stop - row) }, (_, i) => value(row + i));
        ends[0].push(Math.min(...all));
        ends[1].push(Math.max(...all));
      }
      const [lows, highs] = ends.map((e) => new Float32Array(e));
      tiles.take({ id: k + 1, level, index, stop }, lows, level ? highs : lows);
    }
  };
  const store = new Store(tiles);
  const first = Math.max(0, steps + 1 - 100);
  const place = { branch: "main", t: steps, length: steps, position: null };
  const rows = Float32Array.from({ length: steps + 1 - first }, (_, i) => value(first + i));
  store.receive({ seq: 1, start: first, whole: true, width: 1, place }, rows, new Float32Array([5]));
  return { store, tiles, asked, answer, rows: steps + 1 };
}

const window = (first, last, rows, plot = 1000) =>
  ({ first, last, rows, plot, column: plot / (last - first), left: 0 });
const settle = (k) => { for (let i = 0; i < 20; i++) k.answer(); };
const places = (asked) => asked.map(({ level, index }) => `${level}:${index}`);

test("buckets are about a pixel wide; wide rows and single rows have their own rule", () => {
  assert.equal(levelFor(1), 0);
  assert.equal(levelFor(44), 0);
  assert.equal(levelFor(1 / 16), 4);
  assert.equal(levelFor(1 / 1000), 10);
  assert.equal(levelFor(1 / 16, 2048), 6, "four times as wide: four times as coarse");
  assert.equal(levelFor(1, 1e5), 0, "single rows are never thinned");
  assert.deepEqual([1, 256, 257, 258, 1e6].map(levelOfAll), [0, 0, 0, 1, 12]);
  assert.deepEqual([1, 256, 257].map((row) => indexOf(0, row)), [0, 0, 1]);
});

test("what is held needs no tile", () => {
  const k = kernel(90);
  k.store.want(window(0, 91, 91), levelFor(1000 / 91), [89, 90]);
  assert.deepEqual(k.asked, []);
  const long = kernel(100000);
  long.store.want(window(99950, 100001, 100001), 0, [99999, 100000]);
  assert.deepEqual(long.asked, []);
});

test("a tile of everything comes first, then those of the view, then their neighbours", () => {
  const k = kernel(100000);
  k.store.want(window(40000, 48000, k.rows), 3, []);
  assert.deepEqual(places(k.asked), ["9:0", "3:19"], "two at once");
  k.answer();
  settle(k);
  assert.deepEqual(places(k.asked), ["9:0", "3:19", "3:20", "3:21", "3:22", "3:23", "3:18", "3:24"]);
  assert.equal(k.tiles.waiting, false);
  k.store.want(window(40100, 48100, k.rows), 3, []);
  assert.equal(k.asked.length, 8, "a pan within them asks for nothing");
});

test("the newest view wins: wishes of an older one that were not sent are forgotten", () => {
  const k = kernel(1000000);
  k.store.want(window(0, 8000, k.rows), 3, []);
  k.store.want(window(900000, 908000, k.rows), 3, []);
  settle(k);
  const sent = places(k.asked);
  assert.equal(sent.filter((p) => p.startsWith("3:")).filter((p) => Number(p.slice(2)) < 9).length, 1);
  assert.ok(sent.includes("3:439"));
});

test("a field shows least and largest of every pixel, whatever it is made of", () => {
  const k = kernel(5000);
  const at = window(0, 5001, 5001, 500);
  k.store.want(at, levelFor(at.column), []);
  const field = new Field();
  settle(k);
  field.fill(k.store, at);
  assert.equal(field.columns, 500);
  for (const c of [0, 1, 33, 69, 70, 71, 444, 495, 499]) {
    const [from, stop] = [field.rowOf(c), Math.min(5001, field.rowOf(c + 1))];
    const rows = Array.from({ length: stop - from }, (_, i) => (from + i ? value(from + i) : 5));
    const [low, high] = field.ends(c, 0);
    // a bucket on the border of two pixels shows in both
    assert.ok(low <= Math.min(...rows) + 1e-6 && high >= Math.max(...rows) - 1e-6, `column ${c}`);
  }
  assert.equal(field.peak(field.columnOf(RARE), 0), -90, "the larger magnitude, with its sign");
  assert.ok(field.peak(field.columnOf(RARE) + 3, 0) > 0);
  assert.equal(k.store.magnitude(0, 1), 90);
});

test("before its tiles are there a field is drawn from coarser ones, else left open", () => {
  const k = kernel(100000);
  const at = window(40000, 41000, k.rows);
  const field = new Field();
  assert.ok(Number.isNaN(field.fill(k.store, at).peak(500, 0)));
  k.tiles.want({ first: 0, last: k.rows, level: 9, rows: k.rows, have: k.store.first });
  k.answer();
  const coarse = field.fill(k.store, at);
  assert.equal(coarse.peak(500, 0), Math.fround(coarse.ends(500, 0)[1]));
  k.store.want(at, 0, []);
  settle(k);
  assert.ok(field.fill(k.store, at).exact);
  for (const c of [0, 500, 999]) assert.equal(field.peak(c, 0), Math.fround(value(40000 + c)));
  assert.equal(field.columnOf(field.rowOf(77)), 77);
});

test("rows that change are cut from the tiles, whole buckets at a time", () => {
  const k = kernel(5000);
  k.store.want(window(0, 5001, 5001, 500), 3, []);
  settle(k);
  assert.ok(k.tiles.find(3, 4000));
  k.tiles.cut(2060);
  assert.ok(k.tiles.find(3, 2056) && !k.tiles.find(3, 2057));
  assert.equal(k.tiles.find(3, 2050).stop, 2057);
});

test("a tile at the end is asked for again when the rows after it are no longer held", () => {
  const k = kernel(5000);
  k.tiles.want({ first: 4000, last: 5001, level: 2, rows: 5001, have: 4990 });
  settle(k);
  const before = k.asked.length;
  k.tiles.want({ first: 4000, last: 5401, level: 2, rows: 5401, have: 5001 });
  assert.equal(k.asked.length, before);
  k.tiles.want({ first: 4000, last: 5401, level: 2, rows: 5401, have: 5200 });
  assert.deepEqual(places(k.asked.slice(before)), ["5:0", "2:4"]);
});

test("what is refused is not asked for again, until something changes", () => {
  const k = kernel(5000);
  const want = () => k.tiles.want({ first: 600, last: 700, level: 0, rows: 5001, have: 4900 });
  want();
  const first = k.asked.length;
  for (let id = 1; id <= 9; id++) k.tiles.settle(id);
  assert.equal(k.tiles.waiting, false);
  const all = k.asked.length;
  want();
  assert.equal(k.asked.length, all);
  k.tiles.cut(9999);
  want();
  assert.ok(k.asked.length > all && first === 2);
});

test("memory is bounded: the tiles longest unused are let go", () => {
  const tiles = new Tiles();
  const big = new Float32Array(256 * 4096);
  for (let index = 0; index < 20; index++) {
    tiles.take({ id: index, level: 0, index, stop: (index + 1) * 256 + 1 }, big, big);
  }
  assert.ok(tiles.bytes <= 32e6);
  assert.ok(tiles.find(0, 19 * 256 + 5) && !tiles.find(0, 5));
});

test("a path reaches back, tile by tile, to the start or as far as it is drawn", () => {
  const k = kernel(1000);
  const at = window(950, 1001, 1001);
  const here = () => { k.store.want(at, 0, [], true); k.answer(); };
  k.store.want(at, 0, []);
  assert.equal(k.asked.length, 0, "nobody draws a path");
  here();
  k.store.want(at, 0, [], true);
  assert.deepEqual([places(k.asked)[0], k.store.first], ["0:3", 769]);
  for (let i = 0; i < 6; i++) here();
  assert.deepEqual([k.store.first, k.store.count], [0, 1001]);
  assert.equal(k.store.value(0, 0), 5);
  for (const step of [1, 256, 257, 900, 901, 1000]) {
    assert.equal(k.store.value(step, 0), Math.fround(value(step)));
  }
  assert.equal(k.store.magnitude(0, 1), 90);
  const long = kernel(20000);
  for (let i = 0; i < 40; i++) {
    long.store.want(window(19950, 20001, 20001), 0, [], true);
    long.answer();
  }
  assert.ok(long.store.count >= Store.PATH && long.store.count < Store.PATH + 256);
});

test("a column and the rows it shows name each other, at any zoom", () => {
  for (const [wide, first] of [[0.0020497, 0], [0.0037, 1234], [0.1, 7], [0.333, 0], [0.9, 12], [1, 5], [3, 8]]) {
    const field = Object.assign(new Field(), { wide, at: { first } });
    for (let c = 0; c < 500; c++) {
      const [from, to] = [field.rowOf(c), field.rowOf(c + 1) - 1];
      assert.deepEqual([field.columnOf(from), field.columnOf(to)], [c, c], `${wide}: column ${c}`);
    }
  }
});
