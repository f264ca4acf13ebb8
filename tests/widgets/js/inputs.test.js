import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { colorTable, swatch } from "../../../rnnlab/widgets/static/colors.js";
import { offers } from "../../../rnnlab/widgets/static/complete.js";
import { wanted } from "../../../rnnlab/widgets/static/dom.js";
import { GESTURES } from "../../../rnnlab/widgets/static/help.js";
import { listed, resized, stroked } from "../../../rnnlab/widgets/static/input-curve.js";
import { curvePlace } from "../../../rnnlab/widgets/static/input-signal.js";
import { stretch } from "../../../rnnlab/widgets/static/input-tokens.js";
import { dragged, neighbour } from "../../../rnnlab/widgets/static/input-vector.js";
import { whyEmpty } from "../../../rnnlab/widgets/static/inputs.js";
import { Labels, inWords, shortened, visible } from "../../../rnnlab/widgets/static/labels.js";
import { shownSteps, signals } from "../../../rnnlab/widgets/static/tokens.js";

test("a drag upwards raises a cell and stays in the range", () => {
  assert.equal(dragged(0, 80, -1, 1), 1);
  assert.equal(dragged(0, 40, -1, 1), 0.5);
  assert.equal(dragged(0.25, -16, 0, 1), 0.15);
  assert.equal(dragged(0.9, 500, -1, 1), 1);
  assert.equal(dragged(0.9, -5000, -1, 1), -1);
});

test("keys lead from cell to cell and not out of the grid", () => {
  const to = (key, cell) => neighbour(key, cell, 5, 12);
  assert.deepEqual(["ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End"].map((k) => to(k, 6)),
    [5, 7, 1, 11, 0, 11]);
  assert.equal(to("ArrowLeft", 0), 0);
  assert.equal(to("PageDown", 10), 11);
  assert.equal(to("x", 3), null);
});

test("the last word is completed, and what stands before it is kept", () => {
  const words = ["the", "river", "rich", "robbed", "bank"];
  assert.deepEqual(offers("the ri", words), { head: "the ", found: ["river", "rich"] });
  assert.deepEqual(offers("bank", words).found, [], "a whole word needs none");
  assert.deepEqual(offers("the ", words).found, []);
  assert.deepEqual(offers("(", ["(", "(["]).found, ["(["], "the text is no pattern");
});

test("a stroke sets every step on its way, also leftwards", () => {
  const points = [0, 0, 0, 0, 0];
  assert.deepEqual(stroked(points, { step: 1, value: 0 }, { step: 4, value: 0.9 }), [0, 0, 0.3, 0.6, 0.9]);
  assert.deepEqual(stroked(points, { step: 3, value: 1 }, { step: 1, value: 0 }), [0, 0, 0.5, 1, 0]);
  assert.deepEqual(stroked(points, { step: 2, value: 0.7 }, { step: 2, value: 0.7 }), [0, 0, 0.7, 0, 0]);
  assert.deepEqual(points, [0, 0, 0, 0, 0]);
});

test("typed lists are numbers, and what is none is left for the kernel to name", () => {
  assert.deepEqual(listed(" 1, -0.5;2e-1  −3 "), [1, -0.5, 0.2, -3]);
  assert.deepEqual(listed("1 x"), [1, "x"]);
  assert.deepEqual(listed(""), []);
  assert.deepEqual(resized([1, 2, 3], 2, 0), [1, 2]);
  assert.deepEqual(resized([1], 3, 0.5), [1, 0.5, 0.5]);
});

test("a place on a drawn curve is found again", () => {
  const at = curvePlace(500, 84, 40, -1, 1);
  for (const step of [0, 17, 39]) assert.equal(at.step(at.x(step)), step);
  for (const value of [-1, 0.25, 1]) assert.ok(Math.abs(at.value(at.y(value)) - value) < 1e-9);
  assert.equal(at.step(-50), 0);
  assert.equal(at.step(5000), 39);
  assert.equal(at.value(-50), 1);
});

test("of a long text the stretch around the next token is shown", () => {
  assert.deepEqual(stretch(5, 2), [0, 5]);
  assert.deepEqual(stretch(1000, 0), [0, 110]);
  const [first, stop] = stretch(1000, 500);
  assert.ok(first < 500 && 500 < stop);
  assert.deepEqual(stretch(1000, 1000), [890, 1000]);
});

test("what is used up says so, and what to do", () => {
  const queue = { kind: "queue", count: 3, unit: "row", examples: ["a"] };
  assert.equal(whyEmpty(queue, { position: 3 }), "all 3 rows are fed: press Reset");
  assert.equal(whyEmpty({ ...queue, examples: ["a", "b"] }, { position: 3 }),
    "all 3 rows are fed: press Reset, or choose another example");
  assert.equal(whyEmpty(queue, { position: 2 }), "");
  assert.equal(whyEmpty(queue, { position: null }), "");
  assert.equal(whyEmpty({ kind: "vector", count: null }, { position: 99 }), "");
  assert.equal(whyEmpty({ kind: "tokens", count: 0 }, { position: 0 }), "no token yet: type one");
  assert.match(whyEmpty({ kind: "tokens", count: 2 }, { position: 2 }), /type more, or press Reset/);
  assert.match(whyEmpty({ kind: "curve", count: 2 }, { position: 2 }), /all 2 steps of the curve/);
});

test("a number field says what it takes", () => {
  const field = { value: "1", validity: { valid: true }, step: "1", min: "1", max: "" };
  assert.equal(wanted(field), "");
  assert.equal(wanted({ ...field, validity: { valid: false } }), "A whole number, 1 or more, please.");
  assert.equal(wanted({ ...field, value: "", max: "100" }), "A whole number from 1 to 100, please.");
  assert.equal(wanted({ ...field, value: "", min: "", step: "any" }), "A number, please.");
});

test("every key and gesture that is bound is listed, and nothing else", () => {
  const read = (name) => readFileSync(new URL(`../../../rnnlab/widgets/static/${name}`, import.meta.url), "utf8");
  const bound = (...names) => {
    const text = names.map(read).join("\n");
    const found = [...text.matchAll(/\bkey(?:\.toLowerCase\(\))? === "([^"]+)"|\b(Arrow\w+|Page\w+|Home|End)\b/g)]
      .map(([, literal, word]) => SIGNS[literal ?? word] ?? (literal ?? word));
    const mouse = [...text.matchAll(/(?:addEventListener\("|^ *)(dblclick|wheel|pointermove|pointerup)\b/gm)]
      .map(([, name]) => MOUSE[name]);
    return [...new Set([...found, ...mouse])].sort();
  };
  const SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space", "-": "−", g: "G" };
  const MOUSE = { dblclick: "Double-click", wheel: "Wheel", pointermove: "Drag", pointerup: "Click" };
  const said = (title) => [...new Set(GESTURES[title].flatMap(([keys]) => keys.split(/,? /)))].sort();
  assert.deepEqual(said("On the state view"), bound("pointer.js"));
  assert.deepEqual(said("On tabs and the text"), bound("tabs.js", "tokens.js"));
  assert.deepEqual(said("In fields"),
    bound("complete.js", "dom.js", "input-vector.js", "input-curve.js", "transport.js"));
});

test("labels belong to their steps, and rows sent anew bring theirs", () => {
  const labels = new Labels();
  labels.take({ start: 0, whole: true, labels: ["the", "river", "bank"] });
  assert.deepEqual([0, 1, 2, 3, 4].map((row) => labels.at(row)), [null, "the", "river", "bank", null]);
  labels.take({ start: 4, labels: ["was"] });
  assert.equal(labels.at(4), "was");
  labels.take({ start: 2, labels: [null, "x"] });
  assert.deepEqual([1, 2, 3, 4].map((row) => labels.at(row)), ["the", null, "x", null]);
  labels.take({ start: 2 });
  assert.equal(labels.at(2), null);
  labels.take({ start: 5000, whole: true, labels: ["late"] });
  assert.deepEqual([labels.at(1), labels.at(5000), labels.some], [null, "late", true]);
  labels.put(1, ["old"]); // of a tile of what a snapshot left out
  labels.take({ start: 5000, whole: true, kept: 2, labels: ["newer"] });
  assert.deepEqual([labels.at(1), labels.at(5000)], ["old", "newer"]);
  labels.take({ start: 0, whole: true });
  assert.equal(labels.some, false);
});

test("blanks can be seen, long words are cut to their room", () => {
  assert.deepEqual([" ", "\n", "a b"].map(visible), ["␣", "⏎", "a b"]);
  assert.deepEqual([" ", "\n\t", "a b"].map(inWords), ["blank", "line end, tab", "a b"]);
  const wide = (text) => 10 * [...text].length;
  assert.equal(shortened("bank", 40, wide), "bank");
  assert.equal(shortened("investment", 60, wide), "inves…");
  assert.equal(shortened("investment", 5, wide), "");
});

test("the text shown holds the place, however long it is", () => {
  assert.deepEqual(shownSteps({ t: 2, length: 5 }), [1, 5]);
  for (const t of [1, 3000, 6000]) {
    const [start, stop] = shownSteps({ t, length: 6000 });
    assert.ok(start >= 1 && start <= t && t <= stop && stop <= 6000 && stop - start < 400);
  }
});

test("tokens are coloured by the selected unit's layer: its states and gates", () => {
  const lanes = [{ name: "0.h", role: "state", units: 3 }, { name: "1.h", role: "state", units: 4 },
    { name: "1.c", role: "state", units: 4 }, { name: "y", role: "output", units: 2 }];
  const gates = ["1.i", "1.f"];
  const units = [["y", 1], ["1.c", 2], ["0.h", 0]];
  assert.deepEqual(signals(lanes, gates, { units }),
    { own: "1.c", unit: 2, units: 4, names: ["1.h", "1.c", "1.i", "1.f"] });
  assert.deepEqual(signals(lanes, gates, { units: [] }), { own: "0.h", unit: 0, units: 3, names: ["0.h"] });
  assert.equal(signals([lanes[3]], [], { units }), null);
});

test("text can be read on every colour of every map", () => {
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const theme of ["light", "dark"]) {
    for (const kind of ["signed", "share"]) {
      const table = colorTable(theme, kind);
      for (let index = 0; index < 256; index += 5) {
        const { background, color } = swatch(table, index);
        const back = luminance(background.match(/\d+/g).map(Number));
        const front = luminance(color === "#ffffff" ? [255, 255, 255] : [0, 0, 0]);
        const contrast = (Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05);
        assert.ok(contrast >= 4.5, `${theme} ${kind} ${index}: ${contrast.toFixed(2)}`);
      }
    }
  }
});
