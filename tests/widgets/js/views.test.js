import assert from "node:assert/strict";
import { test } from "node:test";
import { carriers, distance, oddSteps } from "../../../rnnlab/widgets/static/compare.js";
import { Field } from "../../../rnnlab/widgets/static/field.js";
import { chosenUnits, drawRun, flow, lineRange } from "../../../rnnlab/widgets/static/lines.js";
import { moved, selectCell, selectUnit, stretched } from "../../../rnnlab/widgets/static/pointer.js";
import { fewDigits, gateRows, lookedAt, none, shown } from "../../../rnnlab/widgets/static/sidebar.js";
import { WHOLE, branchSign, format, layout, panned, slotOf, unitAt, zoomed } from "../../../rnnlab/widgets/static/stateview.js";
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

test("a cell chosen is a unit at a step: elsewhere the unit stays, there it is let go", () => {
  const cell = { lane: "0.h", unit: 1, row: 3 };
  let chosen = selectCell({ units: [], step: null, span: [1, 2] }, cell, 5, false);
  assert.deepEqual(chosen, { units: [["0.h", 1]], step: 3, span: [1, 2] });
  chosen = selectCell(chosen, { ...cell, row: 4 }, 5, false);
  assert.deepEqual([chosen.units, chosen.step], [[["0.h", 1]], 4]);
  chosen = selectCell(chosen, { ...cell, row: 5 }, 5, false);
  assert.deepEqual([chosen.units, chosen.step], [[["0.h", 1]], null], "the place, wherever it goes");
  assert.deepEqual(selectCell(chosen, { ...cell, row: 5 }, 5, false).units, []);
  assert.deepEqual(selectCell(chosen, { ...cell, unit: 2 }, 5, true).units, [["0.h", 1], ["0.h", 2]]);
});

test("a span grows and shrinks at the end where the cursor is, over the other end too", () => {
  assert.deepEqual(stretched(null, 5, 6), [5, 6]);
  assert.deepEqual(stretched([5, 6], 6, 7), [5, 7]);
  assert.deepEqual(stretched([5, 7], 5, 4), [4, 7]);
  assert.deepEqual(stretched([5, 6], 6, 5), [5, 5]);
  assert.deepEqual(stretched([5, 5], 5, 4), [4, 5]);
  assert.deepEqual(stretched([5, 7], 20, 21), [20, 21], "elsewhere a new one begins");
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
  assert.deepEqual(carriers(a, b, lanes, 2).map(([l, ...rest]) => [l.name, ...rest]),
    [["0.h", 1, 0, 4], ["0.h", 0, 3, 0]]);
  const tiny = filled([rows[0], [1, 0.5, -2, 1 + 2 ** -20]]);
  assert.equal(carriers(a, tiny, lanes, 1).length, 1, "however small");
  assert.ok(Number.isNaN(distance(a, b, lanes[1], 7)));
});

test("what is not finite is the largest difference, and the steps that have it are told", () => {
  const odd = filled([rows[0], [1, NaN, -2, 1], [1, 3, Infinity, 0], [1, 0, 0, 0], [1, NaN, 0, 0]]);
  const same = (p, [l, ...rest]) => assert.deepEqual(rest, p);
  carriers(filled(rows), odd, lanes, 1).forEach((found) => same([0, 0.5, NaN], found));
  assert.deepEqual(carriers(odd, odd, lanes, 1), [], "both are NaN");
  assert.equal(carriers(filled(rows), odd, lanes, 2)[0][3], Infinity);
  assert.equal(oddSteps(odd, [lanes[1]], [0, 1, 2, 3, 4]), "steps 1–2, step 4");
  assert.equal(oddSteps(odd, [lanes[1]], [0, 3, 9]), "", "a row that is not there is not odd");
});

test("the axis of lines covers what is finite; the rest has signs", () => {
  const odd = filled([rows[0], [1, NaN, Infinity, 0], [1, 3, -Infinity, 0]]);
  const units = chosenUnits(lanes, { units: [["0.h", 0], ["0.h", 1]] });
  const field = new Field().fill(odd, { first: 0, last: 3, column: 9, plot: 90 });
  assert.deepEqual(lineRange([field], units), [0, 5]);
  assert.deepEqual([0, 1, 2].map((c) => field.odd(c, 1)), ["", "×", ""]);
  assert.deepEqual([0, 1, 2].map((c) => field.odd(c, 2)), ["", "↑", "↓"]);
  assert.equal(field.odd(0, 0), "", "before the first step there is no input: that is not odd");
  const narrow = new Field().fill(odd, { first: 0, last: 3, column: 1 / 3, plot: 90 });
  assert.deepEqual([1, 2].map((u) => narrow.odd(0, u)), ["×", "↑"], "none is lost among others");
  assert.deepEqual(lineRange([narrow], units), [0, 5]);
});

test("a line is broken where it is not known, a point alone is a point, signs keep apart", () => {
  const done = [];
  const pen = new Proxy({}, { get: (_, name) => (...values) => done.push([name, ...values]), set: () => true });
  drawRun(pen, [[0, 1], [1, NaN], [2, 3], [95, 3], [150, 3]], [], ["▲", 1]);
  const moves = done.filter(([name]) => ["moveTo", "lineTo", "fillText"].includes(name));
  assert.deepEqual(moves, [["moveTo", 0, 1], ["lineTo", 0, 1], ["moveTo", 2, 3], ["lineTo", 2, 3],
    ["lineTo", 95, 3], ["lineTo", 150, 3], ["fillText", "▲", 2, 3], ["fillText", "▲", 95, 3]]);
});

test("a legend takes as many rows as it needs, and every branch has a sign of its own", () => {
  assert.deepEqual(flow([60, 60, 30, 200, 10], 100), [[0, 0], [0, 1], [60, 1], [0, 2], [0, 3]]);
  const signs = Array.from({ length: 20 }, (_, k) => branchSign(k));
  assert.equal(new Set(signs).size, 20);
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

test("gates say what they mean and imply", () => {
  const unit = { unit: 1, lane: { name: "0.h", role: "state" } };
  const told = { gates: { 0: {
    i: { values: [0, 0.04], sigmoid: true, means: "input gate" },
    g: { values: [0, -0.97], tanh: true },
    n: { values: [0, 0.93], tanh: true },
    a: { values: [0, 3] },
    o: { values: [0, 0.95], sigmoid: true },
    z: { values: [0, null], sigmoid: true },
    kept: { values: [0, Math.exp(-1 / 4)], state: "c" },
  } } };
  const rows = gateRows(told, unit);
  assert.deepEqual(rows.map((r) => [r.name, r.word]), [["i", "closed"], ["g", "saturated low"],
    ["n", "saturated high"], ["a", ""], ["o", "open"],
    ["z", ""], ["", "keeps 78 % of c a step: τ 4.0 steps"]]);
  assert.equal(rows[0].means, "input gate");
  const own = { unit: 1, lane: { name: "0.c", role: "state" } };
  assert.equal(gateRows(told, own).at(-1).word, "keeps 78 % a step: τ 4.0 steps");
  assert.deepEqual(gateRows(null, unit), [], "nothing is told yet of this step");
  assert.deepEqual(gateRows(told, { unit: 1, lane: { name: "1.h", role: "state" } }), []);
});

test("numbers are shown so that they can be read: tiny, huge, none", () => {
  assert.deepEqual([0.5, -0.25, 0, -8.6e-8, 2944816.75, Infinity, -Infinity, NaN].map((v) => shown(v)),
    ["0.500", "−0.250", "0.000", "−8.60e−8", "2.94e+6", "∞", "−∞", "–"]);
  const store = filled(rows);
  assert.deepEqual([0, 1, 9].map((row) => shown(NaN, none(store, row))), ["–", "NaN", "–"], "NaN, or not there");
  assert.equal(fewDigits(0, 1e-12), "0", "all outputs exactly zero");
  assert.deepEqual([fewDigits(0.5, 1), fewDigits(-3e-9, 1e-8), fewDigits(2e6, 3e6), fewDigits(NaN, 1), fewDigits(1, Infinity)],
    ["0.50", "−3.0e−9", "2.0e+6", "–", "1.000"]);
  assert.deepEqual([2000000, -200000, 5e-6, 0.5, -2, 0, 1500, -Infinity].map(format),
    ["2e6", "−2e5", "5e−6", "0.5", "−2", "0", "1500", "−∞"]);
});
