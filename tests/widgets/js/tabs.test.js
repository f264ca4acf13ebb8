import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { drawDistances } from "../../../rnnlab/widgets/static/compare.js";
import { arrow, awayText, byNearness, nearness, outsideText, pointSign, searchText, stepsText } from "../../../rnnlab/widgets/static/dynamics.js";
import { foundText, spanText } from "../../../rnnlab/widgets/static/find.js";
import { barHeight, decades, drawBars, fadingText, inputWord, splitText } from "../../../rnnlab/widgets/static/memory.js";
import { Store } from "../../../rnnlab/widgets/static/store.js";
import { tabAfter } from "../../../rnnlab/widgets/static/tabs.js";
import { drawPath, planeLanes, project } from "../../../rnnlab/widgets/static/trajectory.js";
import { politely } from "../../../rnnlab/widgets/static/transport.js";
import { Works, busy, current } from "../../../rnnlab/widgets/static/work.js";

test("arrows go round the tabs, Home and End to the ends, other keys nowhere", () => {
  assert.deepEqual(["ArrowRight", "ArrowLeft", "Home", "End", "s"].map((key) => tabAfter(key, 4, 5)),
    [0, 3, 0, 4, null]);
  assert.equal(tabAfter("ArrowLeft", 0, 5), 4);
});

test("the axis of bars spans whole decades, eight at the most, and zero has no bar", () => {
  assert.deepEqual(decades([0.5, -0.02, 0, NaN]), [-2, 0]);
  assert.deepEqual(decades([10, 10]), [0, 1]);
  assert.deepEqual(decades([1, 1e-30]), [-8, 0]);
  assert.equal(decades([0, 0]), null);
  assert.deepEqual(barHeight(0.1, [-2, 0], true), [0.5, false]);
  assert.deepEqual(barHeight(-0.1, [-2, 0], true), [0.5, false]);
  assert.deepEqual(barHeight(0, [-2, 0], true), [0, false]);
  assert.deepEqual(barHeight(1e-30, [-8, 0], true), [0.02, true]);
  assert.deepEqual(barHeight(0.1, [0, 0.4], false), [0.25, false]);
});

test("how memory fades is said in words, also where it does not or is not known", () => {
  const base = { steps: 20, horizon: 7, reached: true, e_folding: 1.4427, endless: false };
  assert.match(fadingText(base), /after 7 steps less than 1 % is left.*later.*factor e in 1\.4 steps\.$/);
  assert.match(fadingText({ ...base, reached: false }), /even after 20 steps: the memory is at least that long/);
  assert.match(fadingText({ ...base, steps: 1, reached: false }), /even after 1 step: /);
  assert.match(fadingText({ ...base, e_folding: null, endless: true }), /it does not fade\.$/);
  assert.match(fadingText({ ...base, e_folding: 0 }), /nothing is left of it later\.$/);
  assert.doesNotMatch(fadingText({ ...base, e_folding: null }), /factor/);
});

const filled = (rows, width) => {
  const store = new Store();
  const place = { t: rows.length - 1, length: rows.length - 1, branch: "main", position: null };
  store.receive({ seq: 1, start: 0, whole: true, width, place }, new Float32Array(rows.flat()));
  return store;
};

test("a step has a word where exactly one labelled input is on", () => {
  const lanes = [{ role: "input", from: 0, units: 3, labels: ["a", "river", "bank"] }];
  const store = filled([[NaN, NaN, NaN], [0, 1, 0], [1, 1, 0], [0, 0.5, 0]], 3);
  assert.deepEqual([0, 1, 2, 3].map((row) => inputWord(store, lanes, row)), ["", "river", "", ""]);
});

test("states side by side have a plane too, where their units lie side by side", () => {
  const h = { role: "state", name: "0.h", from: 2, units: 2 };
  const c = { role: "state", name: "0.c", from: 4, units: 2 };
  const found = planeLanes([{ role: "input", from: 0, units: 2 }, h, c]);
  assert.deepEqual(found.map((l) => [l.name, l.from, l.units]), [["", 2, 4], ["0.h", 2, 2], ["0.c", 4, 2]]);
  assert.deepEqual(planeLanes([h]).map((l) => l.name), ["0.h"]);
  assert.deepEqual(planeLanes([h, { ...c, from: 5 }]).map((l) => l.name), ["0.h", "0.c"]);
  const plane = { mean: [1, 0, 0, 0], axes: [[1, 0, 0, 0], [0, 0, 0, 1]] };
  assert.deepEqual(project(filled([[0, 0, 3, 4, 5, 6]], 6), 0, found[0], plane), [2, 6]);
});

/** A pen that keeps what it is told to do, and how opaque it was then; letters are 6 pixels wide. */
const penOf = (done) => new Proxy({ globalAlpha: 1 }, {
  get: (kept, name) => kept[name] ?? (name === "measureText" ? (text) => ({ width: 6 * text.length })
    : (...values) => done.push([name, kept.globalAlpha, ...values])),
});

test("of a long path only what leads to the step looked at is in full", () => {
  const shown = (count, here) => {
    const done = [];
    const path = Array.from({ length: count }, (_, i) => [i, 0]);
    drawPath(penOf(done), path, (p) => p[0], (p) => p[1], "black", [], here);
    return done.filter(([name]) => name === "stroke").map(([, opaque], k) => {
      const starts = done.filter(([name]) => name === "moveTo");
      return [opaque === 1, starts[k]?.[2], done.filter(([name]) => name === "lineTo").length];
    });
  };
  assert.deepEqual(shown(300, 299), [[true, 0, 300]]);
  assert.deepEqual(shown(4000, 100), [[false, 0, 4061], [true, 40, 4061]]);
  assert.deepEqual(shown(4000, -500)[1].slice(1), [undefined, 4000], "a step that is not held");
});

test("a word that is wider than its bar is shortened, not left out", () => {
  const done = [];
  const canvas = { style: {}, clientWidth: 400, getContext: () => penOf(done) };
  const words = [null, "the", "investment", "bank"];
  const at = { left: 100, plot: 200, column: 30, first: 0, last: 4, labels: { at: (row) => words[row] } };
  const values = { start: 0, data: [1, 2, 3], method: "gradient" };
  drawBars(canvas, null, [], at, {}, values, true, { title: "h", step: null, stale: false });
  const drawn = done.filter(([name]) => name === "fillText").map(([, , text]) => text);
  assert.deepEqual(drawn.slice(-3), ["the", "inves…", "bank"]);
});

test("branches that do not differ are drawn on a scale from 0 to 1", () => {
  const done = [];
  const canvas = { style: {}, clientWidth: 400, getContext: () => penOf(done) };
  const [one, other] = [filled([[1, 2], [3, 4]], 2), filled([[1, 2], [3, 4]], 2)];
  const at = { left: 100, plot: 200, column: 30, first: 0, last: 2 };
  drawDistances(canvas, one, [["main", other, "▲"]], at, [{ name: "h", from: 0, units: 2 }], { background: "#ffffff" });
  const drawn = done.filter(([name]) => name === "fillText").map(([, , text]) => text);
  assert.deepEqual(drawn.slice(2, 4), ["1", "0"]);
});

test("a search says how many points, how sure that is, and what it did not keep", () => {
  const listed = [{ kind: "saddle" }, { kind: "stable" }];
  const base = { count: 3, listed, units: 2, complete: true, index_sum: 1, starts: 84, thorough: true, failed: [],
    rejected: { "not finite": 0, "did not converge": 5 } };
  assert.equal(searchText(base), "3 fixed points in 2 dimensions; searched everywhere; complete as far "
    + "as the index sum tells (+1). Of 84 starts: 5 did not converge.");
  assert.match(searchText({ ...base, count: 1, complete: false, index_sum: -1 }),
    /^1 fixed point .* incomplete: the index sum is −1, it must be \+1\./);
  const one = { ...base, count: 1, listed: [{ kind: "saddle" }] };
  assert.match(searchText(one), /^1 fixed point in 2 dimensions, not stable: states run/);
  assert.match(searchText({ ...base, listed: [{ kind: "saddle" }] }), /dimensions, none of them stable: states run/);
  assert.match(searchText({ ...base, complete: null, index_sum: null, failed: ["Why."] }),
    /no check of completeness applies.* Why\.$/);
  assert.deepEqual(["stable", "saddle", "unstable", "marginal", "continuum (1-dimensional)"].map(pointSign),
    ["●", "◐", "○", "◇", "▭"]);
  assert.deepEqual([null, 1.25, 41.7].map(stepsText), ["∞", "1.3", "42"]);
});

test("points off the plane tell how far, and those outside the picture are named", () => {
  assert.deepEqual([3e-16, 0.9575, 12.34, 0.00012].map(awayText), ["0", "0.96", "12", "0.00012"]);
  assert.deepEqual([0, 2.5, 50].map((away) => nearness(away, [3, 4])), [1, 0.5, 0.35]);
  const order = byNearness([{ away: 0 }, { away: 2 }, { away: 1 }]).map(([k]) => k);
  assert.deepEqual(order, [1, 2, 0], "the nearest lies on top");
  const listed = [{ at: [0.5, -0.5] }, { at: [2.1, 0] }, { at: [0, -1.5] }];
  assert.equal(outsideText(listed, [2, 1]), " Outside the picture: 2, 3.");
  assert.equal(outsideText(listed, [3, 2]), "");
});

test("an arrow is short where it is slow and faint where the speed leaves the plane", () => {
  assert.deepEqual(arrow(4, 4, 0), { length: 1, opacity: 1 });
  assert.deepEqual(arrow(1, 4, 1), { length: 0.5, opacity: 0.15 });
  assert.equal(arrow(0, 0, 0).length, 0);
});

test("spans are found in words", () => {
  const base = { spans: [[3, 3, 1], [5, 9, 1]], count: 2, units: [["h", 1], ["h", 2]], at_least: 2, above: 0.5 };
  assert.equal(foundText(base), "2 spans in which all 2 units are above 0.5:");
  assert.equal(foundText({ ...base, at_least: 1, count: 7 }),
    "7 spans in which at least 1 of 2 units are above 0.5, the first 2 listed:");
  assert.equal(foundText({ ...base, count: 0, spans: [], units: [["h", 1]], at_least: 1 }),
    "Nowhere the unit is above 0.5.");
  assert.equal(foundText({ ...base, span: [4, 9] }), "2 spans in which all 2 units are above 0.5 within steps 4–9:");
  assert.deepEqual(base.spans.map(spanText), ["step 3", "steps 5–9"]);
});

test("quick changes are said once they rest, and every few seconds while they last", () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const said = [];
  const speak = politely((text) => said.push(text), { quiet: 400, patience: 3000 });
  speak("step 1");
  mock.timers.tick(399);
  assert.deepEqual(said, []);
  mock.timers.tick(1);
  assert.deepEqual(said, ["step 1"]);
  for (let t = 2; t < 202; t++) { // 30 a second for 6.7 s
    speak(`step ${t}`);
    mock.timers.tick(33);
  }
  assert.equal(said.length, 3);
  mock.timers.tick(400);
  assert.deepEqual([said.length, said.at(-1)], [4, "step 201"]);
  speak("step 201");
  mock.timers.tick(5000);
  assert.equal(said.length, 4);
  mock.timers.reset();
});

test("the latest wish wins, the same wish is one, and what is stopped stays stopped", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const sent = [];
  const works = new Works({ send: (action, detail) => sent.push([action, detail]), changed() {} });
  works.want("memory", { step: 1 });
  works.want("memory", { step: 1 });
  mock.timers.tick(0);
  assert.equal(sent.length, 1);
  const [, { request }] = sent[0];
  const hear = (message, buffers = []) => works.hear({ kind: "work", topic: "memory", ...message }, buffers);
  hear({ request, state: "started" });
  assert.ok(busy(works.get("memory")));
  hear({ request, state: "part", part: "values", start: 0 }, [new DataView(new Float32Array([2]).buffer)]);
  assert.deepEqual([...current(works.get("memory"), "values").data], [2]);
  hear({ request, state: "done" });
  assert.ok(!busy(works.get("memory")));

  for (const step of [2, 3, 4]) works.want("memory", { step }); // a slider moves
  assert.equal(current(works.get("memory"), "values"), null, "the old result is still there, but old");
  assert.equal(works.get("memory").parts.values.start, 0);
  mock.timers.tick(1000);
  assert.deepEqual(sent.slice(1).map(([, d]) => d.step), [4]);
  hear({ request, state: "error", error: "of the old one" });
  assert.equal(works.get("memory").error, "");
  hear({ request: sent[1][1].request, state: "started" });
  works.stop("memory");
  assert.equal(sent.at(-1)[0], "cancel");
  hear({ request: sent[1][1].request, state: "done" });
  assert.equal(works.get("memory").state, "stopped");
  works.want("memory", { step: 4 });
  mock.timers.tick(1000);
  assert.equal(sent.length, 3, "not computed again unasked");
  works.want("memory", { step: 4 }, true);
  mock.timers.tick(1000);
  hear({ request: sent.at(-1)[1].request, state: "error", error: "why" });
  assert.deepEqual([works.get("memory").state, works.get("memory").error], ["error", "why"]);
  mock.timers.reset();
});

test("how an exact split adds up is said", () => {
  const values = { method: "written", start: 4, value: 0.375, before: -0.02 };
  assert.equal(splitText(values), " The bars, and −0.0200 left from before step 5 add up to 0.375: "
    + "what each step wrote, as much of it as the gates have kept.");
  assert.match(splitText({ ...values, before: 0 }), /^ The bars add up to 0\.375:/);
  assert.equal(splitText({ ...values, method: "gradient" }), "");
  assert.equal(splitText(null), "");
});
