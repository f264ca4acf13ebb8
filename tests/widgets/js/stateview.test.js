import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, laneLimit, locate, unitLabel } from "../../../rnnlab/widgets/static/stateview.js";
import { Store } from "../../../rnnlab/widgets/static/store.js";

const lanes = [
  { name: "x", units: 3, from: 0, title: "input x", labels: ["a", "b", "c"] },
  { name: "h", units: 64, from: 3, title: "h" },
];
const place = (t, length) => ({ t, length, branch: "main" });

test("lanes follow each other without overlap, on one time axis", () => {
  const at = layout(lanes, place(3, 8), 900);
  assert.ok(at.lanes[1].top >= at.lanes[0].top + at.lanes[0].height);
  assert.ok(at.height > at.lanes[1].top + at.lanes[1].height);
  assert.deepEqual([at.first, at.last], [0, 9]);
});

test("what is under the pointer is found again at its own corner", () => {
  const at = layout(lanes, place(3, 8), 900);
  for (const lane of at.lanes) {
    for (const unit of [0, lane.units - 1]) {
      for (const row of [0, 8]) {
        const x = at.left + (row + 0.5) * at.column;
        const y = lane.top + (unit + 0.5) * lane.unitHeight;
        const found = locate(at, x, y);
        assert.deepEqual([found.lane.name, found.unit, found.row], [lane.name, unit, row]);
      }
    }
  }
  assert.equal(locate(at, at.left - 3, at.lanes[0].top + 2), null);
  assert.equal(locate(at, at.left + 9.5 * at.column, at.lanes[0].top + 2), null);
  assert.equal(locate(at, at.left + 5, at.lanes[0].top + at.lanes[0].height + 2), null);
});

test("the place stays visible however long the history", () => {
  for (const [t, length] of [[5000, 5000], [2500, 5000], [0, 5000]]) {
    const at = layout(lanes, place(t, length), 600);
    assert.ok(at.first <= t && t < at.last, `${t} of ${length}`);
    assert.ok((at.last - at.first) * at.column <= at.plot + 1);
  }
});

test("narrow cells still have a plot", () => {
  assert.ok(layout(lanes, place(0, 0), 320).plot >= 80);
});

test("units bear their labels, else their index", () => {
  assert.equal(unitLabel(lanes[0], 2), "c");
  assert.equal(unitLabel(lanes[1], 2), "2");
});

test("a lane's scale covers what is held, unless it is given", () => {
  const store = new Store();
  const message = { seq: 1, start: 0, whole: true, width: 67, place: place(0, 0) };
  const rows = new Float32Array(67);
  rows[10] = -3.2;
  store.receive(message, rows);
  assert.equal(laneLimit(lanes[1], store), 5);
  assert.equal(laneLimit({ ...lanes[1], limit: 1 }, store), 1);
});
