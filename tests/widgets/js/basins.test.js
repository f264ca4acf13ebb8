import assert from "node:assert/strict";
import { test } from "node:test";
import { basinShare, basinText, endNames, regions } from "../../../rnnlab/widgets/static/basins.js";

const stable = (attractor) => ({ kind: "stable", attractor });

test("an end is called by the number of its point in the list, a cycle by a letter", () => {
  const attractors = [{ period: 2 }, { period: 1 }, { period: 3 }, { period: 1 }, { period: 1 }];
  const points = { listed: [stable(-1), stable(3), stable(1)] };
  assert.deepEqual(endNames(attractors, points), ["a", "3", "b", "2", ""]);
});

test("the share of the plane that runs to a point", () => {
  const basins = { attractors: [{ share: 0.52 }, { share: 0.0312 }, { share: 0.0005 }] };
  assert.equal(basinShare(stable(0), basins), "52 %");
  assert.equal(basinShare(stable(1), basins), "3.1 %");
  assert.equal(basinShare(stable(-1), basins), "0 %");
  assert.equal(basinShare({ kind: "saddle", attractor: 2 }, basins), "border");
  assert.equal(basinShare({ kind: "unstable", attractor: -1 }, basins), "–");
});

test("basins in words: how many ends, the cycles, and where none was found", () => {
  const listed = { listed: [stable(0)] };
  const one = { grid: 2, count: 1, failed: [], data: [0, 0, 0, 0], attractors: [{ period: 1, share: 1 }] };
  assert.equal(basinText(one, listed), "Basins: 2 × 2 states of the plane, all run to the same end.");
  const some = { grid: 2, count: 2, failed: ["1 of 4 places had not settled after 1000 steps."],
    data: [0, 1, -1, 1], attractors: [{ period: 1, share: 0.25 }, { period: 2, share: 0.5 }] };
  assert.equal(basinText(some, listed), "Basins: 2 × 2 states of the plane, outlined by which of 2 ends "
    + "they run to (→). a: a cycle of 2 steps (▲), 50 % of them. "
    + "1 of 4 places had not settled after 1000 steps. Hatched: no end found.");
  const lost = { ...some, failed: [], data: [-2, 0, 0, 0], count: 1, attractors: [{ period: 1, share: 0.75 }] };
  assert.equal(basinText(lost, listed),
    "Basins: 2 × 2 states of the plane, one end was found. Crossed: no longer finite.");
  assert.match(basinText({ ...some, count: 900 }, listed), /of the plane, they run to 900 ends\./);
  const none = { ...some, failed: [], data: [-1, -1, -1, -1], count: 0, attractors: [] };
  assert.equal(basinText(none, listed), "Basins: 2 × 2 states of the plane. Hatched: no end found.");
});

test("each connected region is marked where it is widest", () => {
  // two regions of 0, parted by the region of 1
  const grid = 7;
  const labels = Array.from({ length: grid * grid }, (_, k) => (k % grid === 5 ? 1 : 0));
  const found = regions(labels, grid);
  assert.deepEqual(found.map(({ label, size }) => [label, size]), [[0, 35], [1, 7], [0, 7]]);
  const [i, j] = found[0].cell;
  assert.equal(i, 2, "five columns wide: the middle one");
  assert.ok(j >= 2 && j <= 4);
  assert.deepEqual(regions([3], 1), [{ label: 3, size: 1, cell: [0, 0] }]);
});
