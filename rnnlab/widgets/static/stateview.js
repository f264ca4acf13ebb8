import { colorIndex, colorTable, niceLimit } from "./colors.js";

// The state view: lanes of units × time on one time axis, drawn from a Store. `layout` and `locate`
// are pure; `draw` paints. Cost: what is visible, never the length of the history.

const GUTTER = 118;
const SCALE = 62;
const GAP = 22;
const AXIS = 22;

const rowHeight = (units) => Math.max(1, Math.min(16, 168 / units, units <= 12 ? 14 : 168 / units));

/** Where everything goes: lanes with top and height, the plot's extent, the visible rows. */
export function layout(lanes, place, width) {
  let top = 16;
  const placed = lanes.map((lane) => {
    const height = Math.max(14, Math.round(rowHeight(lane.units) * lane.units));
    const at = { ...lane, top, height, unitHeight: height / lane.units };
    top += height + GAP;
    return at;
  });
  const plot = Math.max(80, width - GUTTER - SCALE);
  const rows = place.length + 1;
  const column = Math.max(6, Math.min(44, plot / Math.max(rows, 10)));
  const visible = Math.max(1, Math.floor(plot / column));
  // follow the place: it stays visible, with the newest rows at the right edge if they fit
  let last = Math.min(rows, Math.max(visible, place.t + 1));
  if (rows <= visible) last = rows;
  const first = Math.max(0, last - visible);
  return { lanes: placed, left: GUTTER, plot, column, first, last, height: top - GAP + AXIS + 6 };
}

/** What lies under a point: lane, unit and row, or null. */
export function locate(at, x, y) {
  const lane = at.lanes.find((l) => y >= l.top && y < l.top + l.height);
  const row = at.first + Math.floor((x - at.left) / at.column);
  if (!lane || x < at.left || row >= at.last || row < at.first) return null;
  return { lane, unit: Math.floor((y - lane.top) / lane.unitHeight), row };
}

/** The label of a unit: the lane's own, or its index. */
export const unitLabel = (lane, unit) => lane.labels?.[unit] ?? String(unit);

/** The limit of a lane's colour scale: given, or the next round number above what is held. */
export function laneLimit(lane, store) {
  return lane.limit ?? niceLimit(store.magnitude(lane.from, lane.from + lane.units));
}

export function draw(canvas, store, lanes, style, hover) {
  const ratio = globalThis.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const at = layout(lanes, store.place, width);
  canvas.style.height = `${at.height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(at.height * ratio);
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.fillStyle = style.background;
  g.fillRect(0, 0, width, at.height);
  g.font = `11px ${style.font}`;
  for (const lane of at.lanes) drawLane(g, store, at, lane, style, ratio);
  drawTime(g, store, at, style);
  if (hover) drawHover(g, at, hover, style);
  return at;
}

function drawLane(g, store, at, lane, style, ratio) {
  const limit = laneLimit(lane, store);
  const table = colorTable(style.theme, lane.kind);
  const columns = at.last - at.first;
  const image = new ImageData(columns, lane.units);
  const pixels = new Uint32Array(image.data.buffer);
  for (let c = 0; c < columns; c++) {
    const row = at.first + c;
    for (let u = 0; u < lane.units; u++) {
      const index = colorIndex(store.value(row, lane.from + u), lane.kind, limit);
      if (index >= 0) pixels[u * columns + c] = table[index];
    }
  }
  const sheet = new OffscreenCanvas(columns, lane.units);
  sheet.getContext("2d").putImageData(image, 0, 0);
  const wide = columns * at.column;
  g.fillStyle = style.empty;
  g.fillRect(at.left, lane.top, at.plot, lane.height);
  g.imageSmoothingEnabled = false;
  g.drawImage(sheet, at.left, lane.top, wide, lane.height);
  // what lies after the place is the recorded future: shown, but set back
  const ahead = at.left + (store.place.t + 1 - at.first) * at.column;
  if (store.place.t < store.place.length && ahead < at.left + wide) {
    g.fillStyle = style.veil;
    g.fillRect(ahead, lane.top, at.left + wide - ahead, lane.height);
  }
  g.strokeStyle = style.line;
  g.lineWidth = 1;
  g.strokeRect(at.left - 0.5, lane.top - 0.5, at.plot + 1, lane.height + 1);
  drawNames(g, at, lane, style);
  drawScale(g, at, lane, limit, table, style, ratio);
}

function drawNames(g, at, lane, style) {
  g.textBaseline = "middle";
  g.textAlign = "left";
  g.fillStyle = style.text;
  g.font = `600 12px ${style.font}`;
  g.fillText(lane.title, 4, lane.top + Math.min(8, lane.height / 2), 76);
  g.font = `11px ${style.font}`;
  g.fillStyle = style.faint;
  if (lane.units > 1 && lane.height >= 26) {
    g.fillText(`${lane.units} units`, 4, lane.top + 23, 74);
  }
  g.textAlign = "right";
  const every = Math.max(1, Math.ceil(12 / lane.unitHeight));
  const named = lane.labels ? 1 : every;
  for (let u = 0; u < lane.units; u += Math.max(every, named)) {
    g.fillText(unitLabel(lane, u), at.left - 6, lane.top + (u + 0.5) * lane.unitHeight, 34);
  }
}

function drawScale(g, at, lane, limit, table, style) {
  const x = at.left + at.plot + 10;
  const high = lane.height;
  for (let i = 0; i < high; i++) {
    const index = Math.round(255 * (1 - i / Math.max(1, high - 1)));
    const [r, gr, b] = [0, 8, 16].map((shift) => (table[index] >>> shift) & 255);
    g.fillStyle = `rgb(${r},${gr},${b})`;
    g.fillRect(x, lane.top + i, 8, 1);
  }
  g.strokeStyle = style.line;
  g.strokeRect(x - 0.5, lane.top - 0.5, 9, high + 1);
  g.textAlign = "left";
  g.fillStyle = style.faint;
  const low = lane.kind === "signed" ? -limit : 0;
  g.fillText(format(limit), x + 12, lane.top + 5);
  if (high >= 40 && lane.kind === "signed") g.fillText("0", x + 12, lane.top + high / 2);
  g.fillText(format(low), x + 12, lane.top + high - 4);
}

const format = (v) => String(Number(v.toPrecision(2))).replace("-", "−");

function drawTime(g, store, at, style) {
  const bottom = at.height - AXIS - 6;
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((s) => s * at.column >= 30) ?? 2000;
  g.textAlign = "center";
  g.textBaseline = "top";
  g.fillStyle = style.faint;
  for (let row = Math.ceil(at.first / step) * step; row < at.last; row += step) {
    if (row !== store.place.t) {
      g.fillText(String(row), at.left + (row - at.first + 0.5) * at.column, bottom + 5);
    }
  }
  g.textAlign = "left";
  g.fillText("step", 4, bottom + 5);
  const c = store.place.t - at.first;
  if (c < 0 || c >= at.last - at.first) return;
  const x = at.left + c * at.column;
  g.strokeStyle = style.accent;
  g.lineWidth = 2;
  g.strokeRect(x, at.lanes[0].top - 3, at.column, bottom - at.lanes[0].top + 3);
  const label = String(store.place.t);
  const wide = g.measureText(label).width + 8;
  g.fillStyle = style.accent;
  g.fillRect(x + at.column / 2 - wide / 2, bottom + 2, wide, 15);
  g.textAlign = "center";
  g.fillStyle = style.onAccent;
  g.fillText(label, x + at.column / 2, bottom + 5);
}

function drawHover(g, at, hover, style) {
  const lane = at.lanes.find((l) => l.name === hover.lane);
  if (!lane || hover.row < at.first || hover.row >= at.last) return;
  g.strokeStyle = style.text;
  g.lineWidth = 1;
  g.strokeRect(
    at.left + (hover.row - at.first) * at.column + 0.5,
    lane.top + hover.unit * lane.unitHeight + 0.5,
    Math.max(2, at.column - 1),
    Math.max(2, lane.unitHeight - 1),
  );
}
