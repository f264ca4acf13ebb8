import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import { Recorded, decode, exact, noteOf, rounded, tileOf } from "../../../rnnlab/widgets/static/host.js";
import { Store, floats } from "../../../rnnlab/widgets/static/store.js";
import { headed, unpack } from "../../../rnnlab/widgets/static/unpack.js";

const rows = (count, width) => Float32Array.from({ length: count * width }, (_, i) => i / 8 - 1);

/** As export.py packs it: unit by unit, first bytes before second bytes. */
function packed(table, count, width) {
  const bytes = new Uint8Array(table.buffer);
  const out = new Uint8Array(bytes.length);
  for (let u = 0; u < width; u++) {
    for (let r = 0; r < count; r++) {
      for (let k = 0; k < 4; k++) {
        out[k * count * width + u * count + r] = bytes[4 * (r * width + u) + k];
      }
    }
  }
  return out;
}

function recording(branches, { t = 0, width = 2, planes = {}, orders = { index: {} } } = {}) {
  const head = { width, t, planes, orders, traits: { speed: 100, compared: [], orders: {} } };
  head.branches = branches.map(([name, count]) => ({ name, rows: count, table: rows(count, width) }));
  return new Recorded(head);
}

/** The store of a view that listens to a model. */
function view(model) {
  const store = new Store();
  const seen = { store, answers: [], other: null };
  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "rows") {
      const [rows, row0] = [floats(buffers), floats(buffers, 1)];
      assert.ok(store.receive(message, rows, row0));
    }
    else if (message.kind === "answer") seen.answers.push(message.id);
    else seen.other = { message, rows: floats(buffers) };
  });
  return seen;
}

const later = () => new Promise((done) => setTimeout(done, 0));

test("a page is unpacked into the numbers that were packed", async () => {
  const table = rows(5, 3);
  table[4] = NaN;
  const body = packed(table, 5, 3);
  const head = new TextEncoder().encode(JSON.stringify({
    exact: true, width: 3, branches: [{ name: "é", rows: 5, bytes: body.length }],
  }));
  const length = new Uint8Array(new Uint32Array([head.length]).buffer);
  const text = gzipSync(Buffer.concat([length, head, body])).toString("base64");
  const data = await unpack(text);
  const found = decode(data, ...headed(data));
  assert.equal(found.branches[0].name, "é");
  assert.deepEqual([...found.branches[0].table], [...table]);
});

test("exact numbers keep every bit", () => {
  const table = new Float32Array([Math.PI, -0, 1e-38, Infinity, NaN, -1.1]);
  assert.deepEqual([...exact(packed(table, 3, 2), 3, 2)], [...table]);
});

test("levels are numbers on the scale of their lane; zero is zero and none is NaN", () => {
  const scales = [{ units: 1, low: -2, step: 4 / 254 }, { units: 1, low: 0, step: 1 / 254 }];
  const plain = new Uint8Array([127, 254, 0, 255, 0, 254]);
  const expected = [0, NaN, 2, 0, -2, 1].map(Math.fround);
  assert.deepEqual([...rounded(plain, 3, scales, false)], expected);
  const differences = new Uint8Array([127, 127, 2, 255, 1, 254]);
  assert.deepEqual([...rounded(differences, 3, scales, true)], expected);
});

test("the view is given its rows and follows the steps without getting them again", async () => {
  const model = recording([["main", 6]], { t: 5 });
  const { store, answers } = view(model);
  model.send({ id: 1, action: "snapshot" });
  assert.equal(store.count, 0, "a kernel answers later");
  await later();
  assert.deepEqual([store.count, store.place.t, store.place.length], [6, 5, 5]);
  let bytes = 0;
  model.on("msg:custom", (_, buffers) => { bytes += buffers.reduce((n, b) => n + b.byteLength, 0); });
  for (const [action, more, t] of [
    ["back", {}, 4], ["rewind", { step: 1 }, 1], ["forward", {}, 2], ["step", {}, 3],
    ["run", { steps: 99 }, 5], ["forward", {}, 5], ["reset", {}, 0], ["back", {}, 0],
  ]) {
    model.send({ id: 2, action, ...more });
    await later();
    assert.equal(store.place.t, t, action);
  }
  assert.equal(bytes, 0);
  assert.equal(answers.length, 9);
  assert.equal(store.value(3, 1), rows(6, 2)[7]);
});

test("of a long recording the newest rows are given, and others as tiles", async () => {
  const model = recording([["main", 30001]], { t: 30000 });
  const { store } = view(model);
  const tiles = [];
  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "tile") tiles.push([message, buffers.map((_, k) => floats(buffers, k))]);
    if (message.whole) labels = message.labels;
  });
  let labels = null;
  model.branch.labels = Array.from({ length: 30000 }, (_, t) => `step ${t + 1}`);
  model.snapshot();
  assert.deepEqual([store.first, store.end], [22001, 30001]);
  assert.deepEqual([labels[0], labels.at(-1), labels.length], ["step 22001", "step 30000", 8000]);
  assert.equal(store.value(0, 1), rows(1, 2)[1]);
  model.go(9);
  assert.deepEqual([store.first, store.place.t], [22001, 9]);
  model.send({ id: 5, action: "tile", level: 0, index: 0, branch: "" });
  model.send({ id: 6, action: "tile", level: 3, index: 14, branch: "main" });
  model.send({ id: 7, action: "tile", level: 3, index: 99, branch: "" });
  await later();
  assert.equal(tiles.length, 2);
  assert.deepEqual([tiles[0][0].id, tiles[0][0].stop, tiles[0][1].length], [5, 257, 1]);
  assert.equal(tiles[0][1][0][2 * 8], rows(10, 2)[18], "row 9 is the ninth of the tile");
  const [lows, highs] = tiles[1][1];
  assert.deepEqual([tiles[1][0].stop, lows.length], [30001, 2 * Math.ceil((30000 - 14 * 2048) / 8)]);
  const value = (row, unit) => (2 * row + unit) / 8 - 1;
  assert.deepEqual([lows[0], highs[1]], [value(1 + 14 * 2048, 0), value(8 + 14 * 2048, 1)]);
  assert.equal(highs.at(-1), value(30000, 1));
});

test("of a very long one, buckets stand for the rows before those that are kept", async () => {
  const all = Array.from({ length: 5001 }, (_, row) => (row % 100) * (row % 2 ? 1 : -1));
  const history = { level: 4, lows: [], highs: [] };
  for (let row = 1; row < 5001; row += 16) {
    const part = all.slice(row, row + 16);
    history.lows.push(Math.min(...part));
    history.highs.push(Math.max(...part));
  }
  const branch = { name: "main", rows: 5001, first: 4000, table: all.slice(4000), history, initial: [7] };
  for (const [level, index] of [[4, 0], [4, 1], [5, 0], [6, 0], [0, 16], [2, 4], [1, 8]]) {
    const size = 2 ** level;
    const start = 1 + index * 256 * size;
    const found = tileOf(branch, 1, level, index);
    assert.equal(found.stop, Math.min(start + 256 * size, 5001));
    for (let row = start, b = 0; row < found.stop; row += size, b++) {
      const part = all.slice(row, Math.min(row + size, 5001));
      assert.deepEqual([found.lows[b], found.highs[b]], [Math.min(...part), Math.max(...part)]);
    }
  }
  assert.equal(tileOf(branch, 1, 3, 0), null, "finer than what is kept");
  assert.equal(tileOf(branch, 1, 4, 2), null, "after the end");
  assert.match(noteOf({ exact: false, branches: [branch] }),
    /Of the 5000 steps of main those from 4000 on are kept one by one;.*in every 16 steps/);
  assert.doesNotMatch(noteOf({ exact: true, branches: [{ rows: 4 }] }), /rounded|one by one/);
});

test("branches can be changed and compared; the step stays where there is one", async () => {
  const model = recording([["main", 4], ["other", 9]], { t: 3 });
  const seen = view(model);
  model.snapshot();
  model.send({ id: 1, action: "compare", branch: "gone", on: true });
  model.send({ id: 1, action: "compare", branch: "main", on: true });
  model.send({ id: 1, action: "compare", branch: "other", on: true });
  model.send({ id: 1, action: "compare", branch: "main", on: false });
  await later();
  assert.deepEqual(model.get("compared"), ["other"]);
  assert.equal(seen.other, null, "the view asks for what it lacks");
  model.send({ id: 2, action: "other", branch: "other" });
  await later();
  assert.equal(seen.other.message.place.length, 8);
  assert.equal(seen.other.rows.length, 18);
  model.checkout("other");
  model.go(8);
  model.checkout("main");
  assert.deepEqual([seen.store.place.branch, seen.store.place.t], ["main", 3]);
  model.checkout("nowhere");
  assert.equal(seen.store.place.branch, "main");
});

test("what needs the model is refused in words, and the words go away", async () => {
  const model = recording([["main", 3]]);
  view(model);
  model.send({ id: 1, action: "poke", step: 1, name: "h", unit: 0, value: 1 });
  await later();
  assert.match(model.get("error"), /^This page is a recording/);
  model.send({ id: 2, action: "forward" });
  await later();
  assert.equal(model.get("error"), "");
});

test("orders and planes are those found at export", async () => {
  const plane = { kind: "plane", name: "h" };
  const orders = { index: {}, "first activity": { h: [1, 0] } };
  const model = recording([["main", 3]], { planes: { h: plane }, orders });
  const seen = view(model);
  model.send({ id: 1, action: "plane", name: "h" });
  model.send({ id: 2, action: "order", by: "first activity" });
  await later();
  assert.deepEqual(seen.other.message, plane);
  assert.deepEqual([model.get("ordered_by"), model.get("orders")], ["first activity", { h: [1, 0] }]);
  assert.deepEqual(model.get("sorts"), ["index", "first activity"], "no others are offered");
});

test("playing goes to the end and stops there", async () => {
  const model = recording([["main", 4]], { t: 3 });
  const { store } = view(model);
  model.snapshot();
  const places = [];
  model.on("place", () => places.push(model.t));
  model.play(true);
  await new Promise((done) => model.on("change:playing", (_, on) => { if (!on) done(); }));
  assert.deepEqual(places, [0, 1, 2, 3]);
  assert.equal(store.place.t, 3);
  assert.equal(model.get("playing"), false);
});

test("traits tell who listens, and no longer who stopped", () => {
  const model = recording([["main", 2]]);
  const heard = [];
  const listen = () => heard.push(model.get("selection"));
  model.on("change:selection", listen);
  model.set("selection", 1);
  model.set({ selection: 2, speed: 5 });
  model.off("change:selection", listen);
  model.set("selection", 3);
  assert.deepEqual(heard, [1, 2]);
  assert.equal(model.get("speed"), 5);
});
