import assert from "node:assert/strict";
import { test } from "node:test";
import { shortName, shortened, visible } from "../../../rnnlab/widgets/static/labels.js";

test("what has no shape, or turns the letters around it, is seen", () => {
  assert.deepEqual(["a\tb", "\u0007x", "\u007f", "\u202egnp.exe", "\u2066a"].map(visible),
    ["a⇥b", "␇x", "⟨007F⟩", "⟨202E⟩gnp.exe", "⟨2066⟩a"]);
  assert.deepEqual(["e\u0301", "👨\u200d👩"].map(visible), ["e\u0301", "👨\u200d👩"], "joiners make letters");
  assert.equal(visible("שלום"), "\u2068שלום\u2069", "its order stays its own");
});

test("a long name is cut at letters, never within one", () => {
  assert.equal(shortName("river"), "river");
  assert.equal(shortName("b".repeat(200)), `${"b".repeat(39)}…`);
  assert.equal(shortName("💧".repeat(41)), `${"💧".repeat(39)}…`);
  assert.equal(shortName(`\u202e${"b".repeat(50)}`).slice(0, 7), "⟨202E⟩b", "and control characters are seen");
});

test("a text is cut to the most that fits, however long it is", () => {
  let asked = 0;
  const wide = (text) => { asked += 1; return 10 * [...text].length; };
  assert.equal(shortened("b".repeat(1000), 75, wide), "bbbbbb…");
  assert.ok(asked < 20, "by halving");
  assert.equal(shortened("bank", 15, wide), "");
});
