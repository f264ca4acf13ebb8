import { colorIndex, colorTable, niceLimit, readable } from "./colors.js";
import { shortened, visible } from "./labels.js";

// The state view: lanes of units × time on one time axis, drawn from a Field. `layout`, `locate`
// and the moves of the window are pure; `draw` paints. Cost: what is visible, never the history.

export const GUTTER = 118;
export const SCALE = 62;
const GAP = 22;
const AXIS = 22;
const WIDEST = 44;
const NARROWEST = 1;

const rowHeight = (units) => Math.max(1, Math.min(16, 168 / units, units <= 12 ? 14 : 168 / units));

/** The window onto time: `column` pixels a row (null: as fits), from row `first` (null: follow). */
export const FOLLOW = { column: null, first: null };

/** The window onto the whole recording: columns as narrow as that takes. */
export const WHOLE = { column: 0, first: 0 };

/** The narrowest column: the whole recording fits the plot, however long it is. */
const narrowest = (plot, rows) => Math.min(NARROWEST, plot / rows);

/** Where everything goes: lanes with top and height, the plot's extent, the visible rows. */
export function layout(lanes, place, width, view = FOLLOW) {
  let top = 16;
  const placed = lanes.map((lane) => {
    const height = Math.max(14, Math.round(rowHeight(lane.units) * lane.units));
    const at = { ...lane, top, height, unitHeight: height / lane.units };
    top += height + GAP;
    return at;
  });
  const plot = Math.max(80, width - GUTTER - SCALE);
  const rows = place.length + 1;
  const fitting = Math.max(6, Math.min(WIDEST, plot / Math.max(rows, 10)));
  const column = Math.max(narrowest(plot, rows), view.column ?? fitting);
  const visible = visibleOf(plot, column);
  // following: the place stays visible, with the newest rows at the right edge if they fit
  const followed = Math.max(0, Math.min(rows, Math.max(visible, place.t + 1)) - visible);
  const first = clampFirst(view.first ?? followed, rows, visible);
  const last = Math.min(rows, first + visible);
  return { lanes: placed, left: GUTTER, plot, column, first, last, rows, visible,
    height: top - GAP + AXIS + 6 };
}

// a hair more: plot / (plot / rows) may come out below rows
const visibleOf = (plot, column) => Math.max(1, Math.floor(plot / column + 1e-6));

const clampFirst = (first, rows, visible) =>
  Math.max(0, Math.min(Math.round(first), Math.max(0, rows - visible)));

/** The window after a zoom by `factor` that keeps the row under x where it is. */
export function zoomed(at, factor, x) {
  const column = Math.max(narrowest(at.plot, at.rows), Math.min(WIDEST, at.column * factor));
  const under = at.first + (x - at.left) / at.column;
  const first = under - (x - at.left) / column;
  return { column, first: clampFirst(first, at.rows, visibleOf(at.plot, column)) };
}

/** The window moved by so many rows. */
export function panned(at, rows) {
  return { column: at.column, first: clampFirst(at.first + rows, at.rows, at.visible) };
}

/** The unit drawn at a slot of a lane, counted from the top. */
export const unitAt = (lane, slot) => lane.order?.[slot] ?? slot;

/** The slot in which a unit is drawn. */
export const slotOf = (lane, unit) => (lane.order ? lane.order.indexOf(unit) : unit);

/** The row at a horizontal position, also outside the lanes; clamped to what is visible. */
export function rowAt(at, x) {
  const row = at.first + Math.floor((x - at.left) / at.column);
  return Math.max(at.first, Math.min(at.last - 1, row));
}

/** The middle of a row's column. */
export const midOf = (at, row) => at.left + (row - at.first + 0.5) * at.column;

/** What lies under a point: lane, unit and row, or null. */
export function locate(at, x, y) {
  const lane = at.lanes.find((l) => y >= l.top && y < l.top + l.height);
  const row = at.first + Math.floor((x - at.left) / at.column);
  if (!lane || x < at.left || row >= at.last || row < at.first) return null;
  return { lane, unit: unitAt(lane, Math.floor((y - lane.top) / lane.unitHeight)), row };
}

/** The label of a unit: the lane's own, or its index. */
export const unitLabel = (lane, unit) => visible(lane.labels?.[unit] ?? String(unit));

/** The limit of a lane's colour scale: given, or the next round number above what is held. */
export function laneLimit(lane, store) {
  return lane.limit ?? niceLimit(store.magnitude(lane.from, lane.from + lane.units));
}

/** Colours and dashes that tell selected units apart, also without colour (Okabe & Ito 2008). */
export const MARKS = [
  ["#d55e00", []], ["#0072b2", [6, 3]], ["#009e73", [2, 2]], ["#cc79a7", [8, 3, 2, 3]],
  ["#e69f00", [1, 2]], ["#56b4e9", [10, 4]], ["#7a6f00", [4, 4]], ["#666666", [2, 5]],
];

export const mark = (number) => MARKS[number % MARKS.length];

/** The sign of a branch that is compared with, the same in all views. */
export const branchSign = (k) => BRANCH_SIGNS[k % BRANCH_SIGNS.length]
  + (k < BRANCH_SIGNS.length ? "" : 1 + Math.floor(k / BRANCH_SIGNS.length));
const BRANCH_SIGNS = ["▲", "■", "◆", "▼", "✚", "★"];

/** Prepare a canvas for drawing in CSS pixels at the screen's resolution; with a style, an empty one. */
export function context(canvas, height, style = null) {
  const ratio = globalThis.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.setLineDash([]);
  if (style) {
    g.fillStyle = style.background;
    g.fillRect(0, 0, width, height);
    g.font = `11px ${style.font}`;
    g.textBaseline = "middle";
    g.lineWidth = 1;
  }
  return g;
}

/** Draw it; whether something in it is not finite. */
export function draw(canvas, store, field, style, { hover, selection }) {
  const { at } = field;
  const g = context(canvas, at.height, style);
  let odd = false;
  for (const lane of at.lanes) odd = drawLane(g, store, field, lane, style) || odd;
  drawSelection(g, at, style, selection);
  drawTime(g, store, at, style, selection);
  drawLabels(g, at, style);
  if (hover) drawHover(g, at, hover, style);
  return odd;
}

function drawLane(g, store, field, lane, style) {
  const { at, columns } = field;
  const limit = laneLimit(lane, store);
  const table = colorTable(style.theme, lane.kind);
  const image = new ImageData(columns, lane.units);
  const pixels = new Uint32Array(image.data.buffer);
  const odd = [];
  for (let slot = 0; slot < lane.units; slot++) {
    const from = lane.from + unitAt(lane, slot);
    for (let c = 0; c < columns; c++) {
      if (field.odd(c, from)) odd.push([c, slot]);
      const index = colorIndex(field.peak(c, from), lane.kind, limit);
      if (index >= 0) pixels[slot * columns + c] = table[index];
    }
  }
  const sheet = new OffscreenCanvas(columns, lane.units);
  sheet.getContext("2d").putImageData(image, 0, 0);
  const wide = Math.min(at.plot, columns * Math.max(1, at.column));
  g.fillStyle = style.empty;
  g.fillRect(at.left, lane.top, at.plot, lane.height);
  g.imageSmoothingEnabled = false;
  g.drawImage(sheet, at.left, lane.top, wide, lane.height);
  if (odd.length) {
    g.fillStyle = hatching(g, style);
    const cell = wide / columns;
    for (const [c, slot] of odd) {
      g.fillRect(at.left + c * cell, lane.top + slot * lane.unitHeight, cell, lane.unitHeight);
    }
  }
  // what lies after the place is the recorded future: shown, but set back
  const ahead = at.left + Math.max(0, store.place.t + 1 - at.first) * at.column;
  if (store.place.t < store.place.length && ahead < at.left + wide) {
    g.fillStyle = style.veil;
    g.fillRect(ahead, lane.top, at.left + wide - ahead, lane.height);
  }
  g.strokeStyle = style.line;
  g.lineWidth = 1;
  g.strokeRect(at.left - 0.5, lane.top - 0.5, at.plot + 1, lane.height + 1);
  drawNames(g, at, lane, style);
  drawScale(g, at, lane, limit, table, style);
  return odd.length > 0;
}

/** The hatching of cells whose values are not finite. */
function hatching(g, style) {
  const sheet = new OffscreenCanvas(4, 4);
  const tile = sheet.getContext("2d");
  tile.fillStyle = style.background;
  tile.fillRect(0, 0, 4, 4);
  tile.fillStyle = style.text;
  for (let k = 0; k < 4; k++) tile.fillRect(k, 3 - k, 1, 1);
  return g.createPattern(sheet, "repeat");
}

function drawNames(g, at, lane, style) {
  const wide = (text) => g.measureText(text).width;
  g.textBaseline = "middle";
  const heads = []; // a label beside one of them has what room it leaves
  const head = (text, y, color) => {
    g.textAlign = "left";
    g.fillStyle = color;
    g.fillText(text, 4, y);
    heads.push([y, wide(text) + 8]);
  };
  g.font = `600 12px ${style.font}`;
  head(shortened(visible(lane.title), 76, wide), lane.top + Math.min(8, lane.height / 2), style.text);
  g.font = `11px ${style.font}`;
  if (lane.units > 1 && lane.height >= 26) head(`${lane.units} units`, lane.top + 23, style.faint);
  g.textAlign = "right";
  g.fillStyle = style.faint;
  const every = Math.max(1, Math.ceil(12 / lane.unitHeight));
  for (let slot = 0; slot < lane.units; slot += every) {
    const y = lane.top + (slot + 0.5) * lane.unitHeight;
    const beside = heads.map(([at, room]) => (Math.abs(at - y) < 13 ? room : 0));
    g.fillText(shortened(unitLabel(lane, unitAt(lane, slot)), at.left - 12 - Math.max(...beside), wide), at.left - 8, y);
  }
}

function drawScale(g, at, lane, limit, table, style) {
  const x = at.left + at.plot + 10;
  const high = lane.height;
  g.imageSmoothingEnabled = true;
  g.drawImage(bar(table), x, lane.top, 8, high);
  g.strokeStyle = style.line;
  g.strokeRect(x - 0.5, lane.top - 0.5, 9, high + 1);
  g.textAlign = "left";
  g.fillStyle = style.faint;
  const signed = lane.kind === "signed";
  const low = signed ? -limit : 0;
  if (high < 22) { // one line has room
    g.fillText(signed ? `±${format(limit)}` : `0–${format(limit)}`, x + 12, lane.top + high / 2);
    return;
  }
  g.fillText(format(limit), x + 12, lane.top + 5);
  if (high >= 40 && lane.kind === "signed") g.fillText("0", x + 12, lane.top + high / 2);
  g.fillText(format(low), x + 12, lane.top + high - 4);
}

/** A colour table as an upright bar, its largest value on top. */
function bar(table) {
  if (!bars.has(table)) {
    const sheet = new OffscreenCanvas(1, table.length);
    const pixels = new Uint8ClampedArray(table.slice().reverse().buffer);
    sheet.getContext("2d").putImageData(new ImageData(pixels, 1, table.length), 0, 0);
    bars.set(table, sheet);
  }
  return bars.get(table);
}
const bars = new WeakMap();

/** Two significant digits, with a real minus sign; in powers of ten where it would be long. */
export function format(v) {
  const size = Math.abs(v);
  const text = size && (size >= 1e4 || size < 0.001) ? v.toExponential(1).replace(".0e", "e") : String(Number(v.toPrecision(2)));
  return text.replace("e+", "e").replace("Infinity", "∞").replaceAll("-", "−");
}

function drawSelection(g, at, style, selection) {
  (selection.units ?? []).forEach(([name, unit], number) => {
    const lane = at.lanes.find((l) => l.name === name);
    const slot = lane ? slotOf(lane, unit) : -1;
    if (slot < 0 || slot >= lane.units) return;
    const y = lane.top + (slot + 0.5) * lane.unitHeight;
    g.fillStyle = readable(mark(number)[0], style.background);
    g.beginPath();
    g.moveTo(at.left - 6, y - 4);
    g.lineTo(at.left - 1, y);
    g.lineTo(at.left - 6, y + 4);
    g.fill();
  });
  const bottom = at.height - AXIS - 6;
  const step = selection.step ?? -1;
  if (step >= at.first && step < at.last) {
    g.strokeStyle = style.text;
    g.lineWidth = 1;
    g.setLineDash([3, 3]);
    g.strokeRect(at.left + (step - at.first) * at.column + 0.5, at.lanes[0].top - 8.5,
      Math.max(3, at.column - 1), bottom - at.lanes[0].top + 12);
    g.setLineDash([]);
  }
  if (!selection.span) return;
  const [a, b] = selection.span.map((row) => at.left + (row - at.first) * at.column);
  const from = Math.max(at.left, a);
  const to = Math.min(at.left + at.plot, b + at.column);
  if (to <= from) return;
  const top = at.lanes[0].top - 6;
  g.fillStyle = style.span;
  g.fillRect(from, top, to - from, bottom - top);
  g.fillStyle = style.accent;
  for (const end of [a, b + at.column]) {
    if (end >= at.left && end <= at.left + at.plot) g.fillRect(Math.round(end) - 0.5, top, 1, bottom - top + 4);
  }
}

function drawTime(g, store, at, style, { span, step: looked }) {
  const bottom = at.height - AXIS - 6;
  const { t } = store.place;
  const c = t - at.first;
  if (c >= 0 && t < at.last) {
    g.strokeStyle = style.accent;
    g.lineWidth = 2;
    g.strokeRect(at.left + c * at.column, at.lanes[0].top - 3, Math.max(3, at.column), bottom - at.lanes[0].top + 3);
  }
  const room = 8 + 7 * String(at.last).length;
  const step = [1, 2, 5].flatMap((m) => [1, 10, 100, 1e3, 1e4, 1e5, 1e6].map((d) => m * d))
    .sort((a, b) => a - b).find((s) => s * at.column >= room + 12) ?? 5e6;
  g.textBaseline = "top";
  g.textAlign = "left";
  g.fillStyle = style.faint;
  g.fillText("step", 4, bottom + 5);
  g.textAlign = "center";
  const named = []; // what comes first has its room
  const name = (row, color, ground) => {
    const x = midOf(at, row);
    if (row < at.first || row >= at.last || named.some((other) => Math.abs(other - x) < room)) return;
    named.push(x);
    if (ground) {
      const wide = g.measureText(row).width + 8;
      g.fillStyle = ground;
      g.fillRect(x - wide / 2, bottom + 2, wide, 15);
    }
    g.fillStyle = color;
    g.fillText(row, x, bottom + 5);
  };
  name(t, style.onAccent, style.accent);
  name(looked ?? t, style.text);
  for (const end of span ?? []) name(end, style.accent);
  for (let row = Math.ceil(at.first / step) * step; row < at.last; row += step) name(row, style.faint);
}

/** The tokens above the columns of their steps, where there is room for more than a letter. */
function drawLabels(g, at, style) {
  if (!at.labels?.some || at.column < 16) return;
  g.font = `11px ${style.font}`;
  g.textAlign = "center";
  g.textBaseline = "top";
  const wide = (text) => g.measureText(text).width;
  for (let row = Math.max(1, at.first); row < at.last; row++) {
    const label = at.labels.at(row);
    if (label === null) continue;
    // a little narrower than it should be, a word is still read more easily than cut off
    const text = shortened(visible(label), 1.3 * at.column, wide);
    const x = midOf(at, row);
    const room = Math.min(wide(text), at.column - 3);
    g.fillStyle = style.background; // a frame around the step does not cross the word
    g.fillRect(x - room / 2 - 1, at.lanes[0].top - 16, room + 2, 12);
    g.fillStyle = style.text;
    g.fillText(text, x, at.lanes[0].top - 16, at.column - 3);
  }
}

function drawHover(g, at, hover, style) {
  const lane = at.lanes.find((l) => l.name === hover.lane);
  if (!lane || hover.row < at.first || hover.row >= at.last) return;
  g.strokeStyle = style.text;
  g.lineWidth = 1;
  g.strokeRect(
    at.left + (hover.row - at.first) * at.column + 0.5,
    lane.top + slotOf(lane, hover.unit) * lane.unitHeight + 0.5,
    Math.max(2, at.column - 1),
    Math.max(2, lane.unitHeight - 1),
  );
}
