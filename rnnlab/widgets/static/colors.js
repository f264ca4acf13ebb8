// Colour maps. Signed values: blue – neutral – orange, told apart by every common colour vision;
// the neutral is the background's side of grey, so that zero recedes in both themes.
// Probabilities: one hue, from the background up.

const STOPS = {
  light: {
    signed: ["#053a6b", "#2a78b5", "#8fc1e3", "#f7f7f5", "#f4b47a", "#d9731a", "#7d3402"],
    share: ["#f7f7f5", "#b9cfe2", "#6a9fca", "#2a6ba6", "#0b3766"],
  },
  dark: {
    signed: ["#a9dcff", "#4ea3e0", "#1f5c8c", "#202225", "#8f4f17", "#e08a35", "#ffd9a8"],
    share: ["#202225", "#1d4668", "#2a76ae", "#62aee6", "#cfeaff"],
  },
};

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** 256 packed RGBA entries (little-endian) of one map; the same table at every call. */
export function colorTable(theme, kind) {
  return (tables[theme + kind] ??= makeTable(theme, kind));
}
const tables = {};

function makeTable(theme, kind) {
  const stops = STOPS[theme][kind].map(rgb);
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    const [r, g, b] = [0, 1, 2].map((c) =>
      Math.round(stops[k][c] + (at - k) * (stops[k + 1][c] - stops[k][c])));
    table[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return table;
}

/** Index into a table of 256 for a value of a lane; -1 where there is none (NaN). */
export function colorIndex(value, kind, limit) {
  if (Number.isNaN(value)) return -1;
  const unit = kind === "signed" ? (value / limit + 1) / 2 : value / limit;
  return Math.max(0, Math.min(255, Math.round(unit * 255)));
}

/** The next of 1, 2, 5, 10, 20, … (and 0.5, 0.2, …) that is not below `value`. */
export function niceLimit(value) {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const decade = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((m) => m * decade).find((m) => m >= value * 0.999999) ?? 10 * decade;
}

const linear = (v) => (v <= 10 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4);

// WCAG's relative luminance; black and white stand out alike at √(1.05 · 0.05) − 0.05
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const MIDDLE = 0.179;

const channels = (css) => (css[0] === "#" ? rgb(css) : css.match(/[\d.]+/g).slice(0, 3).map(Number));

/** A colour made lighter or darker, as far as it takes to have WCAG's contrast of so much to the ground. */
export function readable(color, ground, least = 3) {
  const under = luminance(channels(ground));
  const end = under > MIDDLE ? 0 : 255;
  for (let k = 0; ; k++) {
    const mixed = channels(color).map((c) => Math.round(c + (k / 16) * (end - c)));
    const [low, high] = [under, luminance(mixed)].sort((p, q) => p - q);
    if (k === 16 || (high + 0.05) / (low + 0.05) >= least) return `rgb(${mixed.join(", ")})`;
  }
}

/** A colour of a table as CSS, and the black or white that is read on it with more contrast. */
export function swatch(table, index) {
  const [r, g, b] = [0, 8, 16].map((shift) => (table[index] >>> shift) & 255);
  return { background: `rgb(${r}, ${g}, ${b})`, color: luminance([r, g, b]) > MIDDLE ? "#000000" : "#ffffff" };
}
