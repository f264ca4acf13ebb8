import assert from "node:assert/strict";
import { test } from "node:test";
import { Store, floats } from "../../../rnnlab/widgets/static/store.js";

const place = (t, length = t) => ({ branch: "main", t, length, position: null });
const whole = (seq, start, width, t) => ({ seq, start, whole: true, width, place: place(t) });
const part = (seq, start, t, length) => ({ seq, start, place: place(t, length) });
const rows = (...values) => new Float32Array(values);

test("rows are appended, and cut where a message says so", () => {
  const store = new Store();
  assert.ok(store.receive(whole(1, 0, 2, 1), rows(1, 2, 3, 4)));
  assert.ok(store.receive(part(2, 2, 2), rows(5, 6)));
  assert.equal(store.value(2, 1), 6);
  assert.ok(store.receive(part(3, 1, 1, 1), rows(7, 8)));
  assert.equal(store.end, 2);
  assert.equal(store.value(1, 0), 7);
  assert.ok(Number.isNaN(store.value(2, 0)));
});

test("a message that moves the place only keeps the rows", () => {
  const store = new Store();
  store.receive(whole(1, 0, 1, 2), rows(1, 2, 3));
  assert.ok(store.receive(part(2, 3, 1, 2), rows()));
  assert.equal(store.count, 3);
  assert.equal(store.place.t, 1);
});

test("a gap in the numbers, or in the rows, asks for a snapshot and changes nothing", () => {
  const store = new Store();
  assert.equal(store.receive(part(5, 1, 1), rows(1)), false);
  store.receive(whole(6, 0, 1, 1), rows(1, 2));
  assert.equal(store.receive(part(8, 2, 2), rows(3)), false);
  assert.equal(store.receive(part(7, 9, 9), rows(3)), false);
  assert.equal(store.count, 2);
  assert.ok(store.receive(whole(9, 0, 1, 3), rows(1, 2, 3, 4)));
  assert.equal(store.value(3, 0), 4);
});

test("memory is bounded: the oldest rows are let go", () => {
  const store = new Store();
  store.receive(whole(1, 0, 1, 0), rows(0));
  for (let i = 1; i <= 20000; i++) store.receive(part(i + 1, i, i), rows(i));
  assert.ok(store.count <= Store.CAPACITY);
  assert.equal(store.value(20000, 0), 20000);
  assert.ok(Number.isNaN(store.value(1, 0)));
  assert.equal(store.value(0, 0), 0, "the initial state stays");
  assert.equal(store.value(store.first, 0), store.first);
});

test("the largest magnitude leaves out what is not a number", () => {
  const store = new Store();
  store.receive(whole(1, 0, 3, 1), rows(NaN, -4, 100, 2, 3, 100));
  assert.equal(store.magnitude(0, 2), 4);
});

test("the largest magnitude follows what comes and what is taken back", () => {
  const store = new Store();
  store.receive(whole(1, 0, 1, 1), rows(1, -3));
  assert.equal(store.magnitude(0, 1), 3);
  store.receive(part(2, 2, 2), rows(7));
  assert.equal(store.magnitude(0, 1), 7);
  store.receive(part(3, 2, 1, 1), rows());
  assert.equal(store.magnitude(0, 1), 3);
});

test("of a long history the newest rows and row 0 are held; tiles fill the gap", () => {
  const store = new Store();
  store.receive({ ...whole(1, 5000, 1, 5001), kept: 0 }, rows(1, 2), rows(0.5));
  assert.deepEqual([store.value(0, 0), store.value(5001, 0)], [0.5, 2]);
  assert.ok(Number.isNaN(store.value(300, 0)));
  store.tiles.take({ id: 1, level: 0, index: 1, stop: 513 },
    ...Array(2).fill(Float32Array.from({ length: 256 }, (_, i) => 257 + i)));
  assert.equal(store.value(300, 0), 300);
  assert.equal(store.magnitude(0, 1), 512);
  // what is kept of the old rows is kept of the tiles
  store.receive({ ...whole(2, 9000, 1, 9001), kept: 300 }, rows(1, 2), rows(0.5));
  assert.equal(store.value(299, 0), 299);
  assert.ok(Number.isNaN(store.value(300, 0)));
  store.receive({ ...whole(4, 9000, 1, 9001), kept: 300 }, rows(1, 2), rows(0.5));
  assert.ok(Number.isNaN(store.value(299, 0)), "a message was missed: nothing is sure");
});

test("numbers are read from a buffer at any offset", () => {
  const bytes = new Uint8Array(13);
  bytes.set(new Uint8Array(new Float32Array([1.5, -2]).buffer), 5);
  const odd = new DataView(bytes.buffer, 5, 8);
  assert.deepEqual([...floats([odd])], [1.5, -2]);
  const even = new DataView(new Float32Array([9, 1.5, -2]).buffer, 4, 8);
  assert.deepEqual([...floats([even])], [1.5, -2]);
  assert.equal(floats([]).length, 0);
});
