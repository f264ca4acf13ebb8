import { niceLimit } from "./colors.js";
import { context, format, mark, unitLabel } from "./stateview.js";

// The selected units as lines, on the time axis of the state view above; where rows are narrower
// than pixels, as the band between the least and the largest value of each pixel.

const LINES_HIGH = 150;
const LINES_TOP = 12;
const LINES_BOTTOM = 16;

/** Low and high end of the vertical axis for these units: round, and around zero if signed. */
export function lineRange(fields, units) {
  let most = 0;
  let least = 0;
  for (const field of fields) for (const { column } of units) {
    for (let c = 0; c < field.columns; c++) {
      const [low, high] = field.ends(c, column);
      if (high > most) most = high;
      if (low < least) least = low;
    }
  }
  return [least < 0 ? -niceLimit(-least) : 0, most > 0 ? niceLimit(most) : least < 0 ? 0 : 1];
}

/** The selected units that the lanes have: their column in the store, name and number. */
export function chosenUnits(lanes, selection) {
  return (selection.units ?? []).flatMap(([name, unit], number) => {
    const lane = lanes.find((l) => l.name === name);
    if (!lane || unit >= lane.units) return [];
    return [{ lane, unit, number, column: lane.from + unit,
      label: `${lane.name}[${unitLabel(lane, unit)}]` }];
  });
}

/** `ghost` is the field of a branch compared with: its lines are drawn thin, behind. */
export function drawLines(canvas, store, field, style, selection, ghost = null) {
  const { at } = field;
  const units = chosenUnits(at.lanes, selection);
  canvas.hidden = !units.length;
  if (!units.length) return;
  const g = context(canvas, LINES_HIGH);
  const [low, high] = lineRange(ghost ? [field, ghost] : [field], units);
  const y = (v) => LINES_TOP + ((high - v) / (high - low)) * (LINES_HIGH - LINES_TOP - LINES_BOTTOM);
  const x = (row) => at.left + (row - at.first + 0.5) * at.column;
  g.fillStyle = style.background;
  g.fillRect(0, 0, canvas.clientWidth, LINES_HIGH);
  g.font = `11px ${style.font}`;
  g.strokeStyle = style.line;
  g.lineWidth = 1;
  g.strokeRect(at.left - 0.5, LINES_TOP - 0.5, at.plot + 1, LINES_HIGH - LINES_TOP - LINES_BOTTOM + 1);
  g.textBaseline = "middle";
  g.textAlign = "right";
  g.fillStyle = style.faint;
  for (const v of new Set([low, high, 0])) {
    const crowded = v === 0 && [low, high].some((end) => end && Math.abs(y(end) - y(0)) < 12);
    if (!crowded) g.fillText(format(v), at.left - 6, y(v));
    g.beginPath();
    g.moveTo(at.left, y(v));
    g.lineTo(at.left + at.plot, y(v));
    g.stroke();
  }
  g.save();
  g.beginPath();
  g.rect(at.left, 0, at.plot, LINES_HIGH);
  g.clip();
  for (const [source, alpha, wide] of [[ghost, 0.45, 1], [field, 1, 1.8]]) {
    for (const { column, number } of source ? units : []) {
      const [color, dash] = mark(number);
      g.globalAlpha = alpha;
      g.strokeStyle = g.fillStyle = color;
      g.lineWidth = wide;
      g.setLineDash(source.exact ? dash : []);
      if (source.exact) trace(g, source, column, x, y);
      else band(g, source, column, y);
    }
  }
  g.restore();
  g.setLineDash([]);
  const c = x(store.place.t);
  if (store.place.t >= at.first && store.place.t < at.last) {
    g.strokeStyle = style.accent;
    g.lineWidth = 1;
    g.beginPath();
    g.moveTo(c, LINES_TOP);
    g.lineTo(c, LINES_HIGH - LINES_BOTTOM);
    g.stroke();
  }
  drawLegend(g, at, units, style);
}

function trace(g, field, column, x, y) {
  g.beginPath();
  let pen = false;
  for (let c = 0; c < field.columns; c++) {
    const v = field.peak(c, column);
    if (Number.isNaN(v)) {
      pen = false;
      continue;
    }
    if (pen) g.lineTo(x(field.rowOf(c)), y(v));
    else g.moveTo(x(field.rowOf(c)), y(v));
    pen = true;
  }
  g.stroke();
}

/** One upright a pixel, never less than a point high: where all is flat there is still a line. */
function band(g, field, column, y) {
  g.globalAlpha *= 0.7; // bands lie on each other
  for (let c = 0; c < field.columns; c++) {
    const [low, high] = field.ends(c, column);
    if (Number.isNaN(low)) continue;
    g.fillRect(field.at.left + c, y(high) - 0.6, 1, y(low) - y(high) + 1.2);
  }
}

function drawLegend(g, at, units, style) {
  g.textAlign = "left";
  g.textBaseline = "middle";
  let x = at.left + 6;
  for (const { label, number } of units) {
    const [color, dash] = mark(number);
    const wide = g.measureText(label).width + 34;
    if (x + wide > at.left + at.plot) break;
    g.strokeStyle = color;
    g.lineWidth = 2;
    g.setLineDash(dash);
    g.beginPath();
    g.moveTo(x, LINES_HIGH - 6);
    g.lineTo(x + 20, LINES_HIGH - 6);
    g.stroke();
    g.setLineDash([]);
    g.fillStyle = style.text;
    g.fillText(label, x + 24, LINES_HIGH - 6);
    x += wide;
  }
}
