import assert from "node:assert/strict";
import { test } from "node:test";
import { colorIndex, colorTable, niceLimit, readable } from "../../../rnnlab/widgets/static/colors.js";
import { MARKS } from "../../../rnnlab/widgets/static/stateview.js";

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

test("the marks of units are told from the ground of every theme, thin lines more so", () => {
  // WCAG 2.1: relative luminance by the exact sRGB curve
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = (css) => {
    const [r, g, b] = css.match(/\d+/g).map((v) => linear(Number(v)));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  for (const ground of ["rgb(255, 255, 255)", "rgb(22, 24, 27)", "rgb(33, 33, 33)", "rgb(17, 17, 17)", "rgb(120, 120, 120)"]) {
    for (const [color] of MARKS) {
      for (const least of [3, 4.5]) {
        const [low, high] = [light(readable(color, ground, least)), light(ground)].sort((p, q) => p - q);
        assert.ok(high / low >= least - 0.02, `${color} on ${ground}: ${high / low}`);
      }
    }
  }
  assert.equal(readable("#009e73", "rgb(255, 255, 255)", 3), "rgb(0, 158, 115)", "as it is where it will do");
});
