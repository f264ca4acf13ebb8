import assert from "node:assert/strict";
import { test } from "node:test";
import { carriers, distance } from "../../../rnnlab/widgets/static/compare.js";
import { Field } from "../../../rnnlab/widgets/static/field.js";
import { chosenUnits, lineRange } from "../../../rnnlab/widgets/static/lines.js";
import { moved, selectUnit } from "../../../rnnlab/widgets/static/pointer.js";
import { fewDigits, gateRows, lookedAt, shown } from "../../../rnnlab/widgets/static/sidebar.js";
import { WHOLE, format, layout, panned, slotOf, unitAt, zoomed } from "../../../rnnlab/widgets/static/stateview.js";
import { Store } from "../../../rnnlab/widgets/static/store.js";
import { project } from "../../../rnnlab/widgets/static/trajectory.js";

const lanes = [
  { name: "x", units: 1, from: 0, title: "x", role: "input" },
  { name: "0.h", units: 3, from: 1, title: "0.h", role: "state", order: [2, 0, 1] },
];
const filled = (rows) => {
  const store = new Store();
  const place = { t: rows.length - 1, length: rows.length - 1, branch: "main", position: null };
  const message = { seq: 1, start: 0, whole: true, width: 4, place };
  store.receive(message, new Float32Array(rows.flat()));
  return store;
};
const rows = [[NaN, 0, 0, 0], [1, 0.5, -2, 1], [1, 3, 0, 0]];

test("a zoom keeps the row under the pointer, a pan moves by rows, both stay inside", () => {
  const at = layout(lanes, { t: 999, length: 999 }, 900, { column: 6, first: 300 });
  const x = at.left + 60 * at.column;
  const wide = layout(lanes, { t: 999, length: 999 }, 900, zoomed(at, 2, x));
  assert.ok(Math.abs(wide.first + (x - wide.left) / wide.column - 360) <= 1);
  assert.equal(panned(at, 25).first, 325);
  assert.equal(panned(at, -5000).first, 0);
  assert.equal(layout(lanes, { t: 999, length: 999 }, 900, panned(at, 5000)).last, 1000);
});

test("a zoom goes out to the whole recording and not beyond", () => {
  const place = { t: 5, length: 1e6 };
  const all = layout(lanes, place, 900, WHOLE);
  assert.deepEqual([all.first, all.last], [0, 1000001]);
  const out = layout(lanes, place, 900, zoomed(layout(lanes, place, 900), 1e-9, 400));
  assert.deepEqual([out.first, out.last, out.column], [all.first, all.last, all.column]);
  const near = layout(lanes, place, 900, zoomed(all, 4, all.left + all.plot / 2));
  assert.ok(Math.abs(near.first - 375000) <= 1 && Math.abs(near.last - 625000) <= 2);
  const short = layout(lanes, { t: 5, length: 20 }, 900, WHOLE);
  assert.deepEqual([short.first, short.last, short.column], [0, 21, 1]);
});

test("units are drawn in the order given, and found in it", () => {
  assert.deepEqual([0, 1, 2].map((slot) => unitAt(lanes[1], slot)), [2, 0, 1]);
  assert.deepEqual([0, 1, 2].map((unit) => slotOf(lanes[1], unit)), [1, 2, 0]);
  assert.equal(unitAt(lanes[0], 0), 0);
});

test("arrow keys walk through the slots of all lanes, and along time", () => {
  const at = layout(lanes, { t: 1, length: 2 }, 900);
  let here = moved(null, 0, 0, at, 1);
  assert.deepEqual(here, { lane: "x", unit: 0, row: 1 });
  here = moved(here, 0, 1, at, 1);
  assert.deepEqual([here.lane, here.unit], ["0.h", 2]);
  here = moved(here, 9, 1, at, 1);
  assert.deepEqual([here.unit, here.row], [0, 2]);
});

test("a click chooses a unit alone, shift adds and takes away", () => {
  let chosen = selectUnit({ units: [], span: null }, "0.h", 1, false);
  assert.deepEqual(chosen.units, [["0.h", 1]]);
  chosen = selectUnit(chosen, "0.h", 2, true);
  assert.deepEqual(chosen.units, [["0.h", 1], ["0.h", 2]]);
  chosen = selectUnit(chosen, "0.h", 1, true);
  assert.deepEqual(chosen.units, [["0.h", 2]]);
  assert.deepEqual(selectUnit(chosen, "0.h", 2, false).units, []);
});

test("lines cover their own values and leave out units that do not exist", () => {
  const store = filled(rows);
  const units = chosenUnits(lanes, { units: [["0.h", 1], ["0.h", 9], ["gone", 0]] });
  assert.deepEqual(units.map((u) => [u.label, u.column]), [["0.h[1]", 2]]);
  const field = new Field().fill(store, { first: 0, last: 3, column: 9, plot: 90 });
  assert.deepEqual(lineRange([field], units), [-2, 0]);
  const other = new Field().fill(filled([[0, 0, 3, 0]]), { first: 0, last: 1, column: 9, plot: 90 });
  assert.deepEqual(lineRange([field, other], units), [-2, 5], "a branch compared with has room, too");
});

test("the distance is the root mean square over units; carriers are sorted by size", () => {
  const a = filled(rows);
  const b = filled([rows[0], [1, 0.5, 1, 1], [1, 0, 4, 0]]);
  assert.equal(distance(a, b, lanes[1], 0), 0);
  assert.ok(Math.abs(distance(a, b, lanes[1], 1) - Math.sqrt(9 / 3)) < 1e-6);
  assert.deepEqual(carriers(a, b, lanes, 2).slice(0, 2).map(([l, u, d]) => [l.name, u, d]),
    [["0.h", 1, -4], ["0.h", 0, 3]]);
  assert.ok(Number.isNaN(distance(a, b, lanes[1], 7)));
});

test("a state is placed in the plane by the stored mean and axes", () => {
  const plane = { mean: [1, 0, 0], axes: [[1, 0, 0], [0, 0.6, 0.8]] };
  const [p, q] = project(filled(rows), 1, lanes[1], plane);
  assert.ok(Math.abs(p + 0.5) < 1e-6 && Math.abs(q + 0.4) < 1e-6);
});

test("the step looked at is the one clicked, while it exists", () => {
  const store = filled(rows);
  assert.equal(lookedAt(store, { step: null }), 2);
  assert.equal(lookedAt(store, { step: 1 }), 1);
  assert.equal(lookedAt(store, { step: 8 }), 2);
});

test("gates say what they imply, and only for the step they belong to", () => {
  const unit = { unit: 1, lane: { name: "0.h", role: "state" } };
  const told = { step: 3, branch: "main", gates: { 0: {
    i: { values: [0, 0.04], sigmoid: true },
    g: { values: [0, -0.97], sigmoid: false },
    o: { values: [0, 0.95], sigmoid: true },
    kept: { values: [0, Math.exp(-1 / 4)], state: "c" },
  } } };
  const rows = gateRows(told, unit, 3, "main");
  assert.deepEqual(rows.map((r) => [r.name, r.word]), [["i", "closed"], ["g", ""], ["o", "open"],
    ["", "keeps 78 % of c a step: τ 4.0 steps"]]);
  const own = { unit: 1, lane: { name: "0.c", role: "state" } };
  assert.equal(gateRows(told, own, 3, "main").at(-1).word, "keeps 78 % a step: τ 4.0 steps");
  assert.deepEqual(gateRows(told, unit, 4, "main"), []);
  assert.deepEqual(gateRows(told, unit, 3, "other"), []);
  assert.deepEqual(gateRows(told, { unit: 1, lane: { name: "1.h", role: "state" } }, 3, "main"), []);
});

test("numbers are shown so that they can be read: tiny, huge, none", () => {
  assert.deepEqual([0.5, -0.25, 0, -8.6e-8, 2944816.75, Infinity, -Infinity, NaN].map(shown),
    ["0.500", "−0.250", "0.000", "−8.60e−8", "2.94e+6", "∞", "−∞", "–"]);
  assert.equal(fewDigits(0, 1e-12), "0", "all outputs exactly zero");
  assert.deepEqual([fewDigits(0.5, 1), fewDigits(-3e-9, 1e-8), fewDigits(2e6, 3e6), fewDigits(NaN, 1), fewDigits(1, Infinity)],
    ["0.50", "−3.0e−9", "2.0e+6", "–", "1.000"]);
  assert.deepEqual([2000000, -200000, 5e-6, 0.5, -2, 0, 1500].map(format),
    ["2e6", "−2e5", "5e−6", "0.5", "−2", "0", "1500"]);
});
