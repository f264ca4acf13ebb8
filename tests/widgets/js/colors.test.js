import assert from "node:assert/strict";
import { test } from "node:test";
import { colorIndex, colorTable, niceLimit } from "../../../rnnlab/widgets/static/colors.js";

const channels = (packed) => [0, 8, 16].map((shift) => (packed >>> shift) & 255);
const luminance = (packed) => {
  const [r, g, b] = channels(packed);
  return 0.299 * r + 0.587 * g + 0.114 * b;
};

test("zero is the middle of a signed scale and the bottom of a share", () => {
  assert.equal(colorIndex(0, "signed", 2), 128);
  assert.equal(colorIndex(-2, "signed", 2), 0);
  assert.equal(colorIndex(2, "signed", 2), 255);
  assert.equal(colorIndex(0, "share", 1), 0);
  assert.equal(colorIndex(9, "signed", 2), 255);
  assert.equal(colorIndex(NaN, "signed", 1), -1);
});

for (const theme of ["light", "dark"]) {
  test(`${theme}: blue is negative, orange positive, and contrast with zero grows`, () => {
    const table = colorTable(theme, "signed");
    const [r0, , b0] = channels(table[40]);
    const [r1, , b1] = channels(table[215]);
    assert.ok(b0 > r0 && r1 > b1);
    const away = (i) => Math.abs(luminance(table[i]) - luminance(table[128]));
    for (const [near, far] of [[100, 50], [50, 5], [156, 206], [206, 250]]) {
      assert.ok(away(far) > away(near));
    }
    assert.equal(table[0] >>> 24, 255);
  });
}

test("a scale ends at a round number that is not below the value", () => {
  for (const [value, limit] of [[0.3, 0.5], [0.5, 0.5], [1.2, 2], [7, 10], [51, 100], [0.011, 0.02]]) {
    assert.ok(Math.abs(niceLimit(value) - limit) < 1e-12, `${value}`);
  }
  assert.equal(niceLimit(0), 1);
  assert.equal(niceLimit(NaN), 1);
});
