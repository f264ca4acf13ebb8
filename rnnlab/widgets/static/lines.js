import { niceLimit, readable } from "./colors.js";
import { shortName, shortened } from "./labels.js";
import { context, format, mark, midOf, unitLabel } from "./stateview.js";

// The selected units as lines, on the time axis of the state view above; where rows are narrower
// than pixels, as the band between the least and the largest value of each pixel.

const LINES_HIGH = 150;
const LINES_TOP = 12;
const LINES_BOTTOM = 16;
const LEGEND_ROW = 14;
const SIGN_APART = 90; // pixels between the signs of a branch on its line

/** Low and high end of the vertical axis for these units: round, and around zero if signed. */
export function lineRange(fields, units) {
  let most = 0;
  let least = 0;
  for (const field of fields) for (const { column } of units) {
    for (let c = 0; c < field.columns; c++) {
      for (const v of field.ends(c, column)) {
        if (v > most && v < Infinity) most = v;
        if (v < least && v > -Infinity) least = v;
      }
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

/** `ghosts` are the branches compared with, `{ field, name, sign }`: drawn thin, behind, with signs. */
export function drawLines(canvas, store, field, style, selection, ghosts = []) {
  const { at } = field;
  const units = chosenUnits(at.lanes, selection);
  canvas.hidden = !units.length;
  if (!units.length) return;
  const fields = [field, ...ghosts.map((ghost) => ghost.field)];
  const colors = units.map(({ number }) => readable(mark(number)[0], style.background));
  const odd = [];
  for (const f of fields) units.forEach(({ column }, k) => {
    for (let c = 0, next = 0; c < f.columns; c++) {
      const sign = f.odd(c, column);
      const to = c * Math.max(1, at.column);
      if (!sign || to < next) continue;
      odd.push([f.rowOf(c), sign, colors[k]]);
      next = to + 7;
    }
  });
  const legend = legendOf(canvas, at, style, [
    ...units.map(({ label, number }, k) => ({ label, color: colors[k], dash: mark(number)[1] })),
    ...ghosts.map(({ name, sign }) => ({ label: shortName(name), sign })),
    ...(odd.length ? [{ label: "NaN, ↑ ∞, ↓ −∞", sign: "×" }] : []),
  ]);
  const g = context(canvas, LINES_HIGH + legend.more, style);
  const [low, high] = lineRange(fields, units);
  const floor = LINES_HIGH - LINES_BOTTOM;
  const y = (v) => LINES_TOP + ((high - Math.max(low, Math.min(high, v))) / (high - low)) * (floor - LINES_TOP);
  const x = (row) => midOf(at, row);
  g.strokeStyle = style.line;
  g.strokeRect(at.left - 0.5, LINES_TOP - 0.5, at.plot + 1, floor - LINES_TOP + 1);
  g.textAlign = "right";
  g.fillStyle = style.faint;
  for (const v of new Set([low, high, 0])) {
    const crowded = v === 0 && [low, high].some((end) => end && Math.abs(y(end) - y(0)) < 12);
    if (!crowded) g.fillText(format(v), at.left - 6, y(v));
    drawRun(g, [[at.left, y(v)], [at.left + at.plot, y(v)]]);
  }
  g.save();
  g.beginPath();
  g.rect(at.left, 0, at.plot, LINES_HIGH);
  g.clip();
  g.textAlign = "center";
  ghosts.forEach(({ field: source, sign }, b) => units.forEach(({ column, number }) => {
    // thin lines lose contrast to the ground that shines through their edges
    g.strokeStyle = g.fillStyle = readable(mark(number)[0], style.background, 4.5);
    g.lineWidth = 1.2;
    trace(g, source, column, mark(number)[1], x, y, 1, signsOf(at, sign, b));
    if (!source.exact) trace(g, source, column, [], x, y, 0);
  }));
  units.forEach(({ column, number }, k) => {
    g.strokeStyle = g.fillStyle = colors[k];
    g.lineWidth = 1.8;
    if (field.exact) trace(g, field, column, mark(number)[1], x, y, 1);
    else band(g, field, column, y);
  });
  for (const [row, sign, color] of odd) {
    g.fillStyle = color;
    g.fillText(sign, x(row), sign === "↑" ? LINES_TOP + 6 : floor - 6);
  }
  g.restore();
  const c = x(store.place.t);
  if (store.place.t >= at.first && store.place.t < at.last) {
    g.strokeStyle = style.accent;
    g.lineWidth = 1;
    drawRun(g, [[c, LINES_TOP], [c, floor]]);
  }
  legend.draw(LINES_HIGH - 6);
}

/** A line through one end of each column. */
function trace(g, field, column, dash, x, y, end, signs) {
  const points = Array.from({ length: field.columns }, (_, c) => {
    const v = field.ends(c, column)[end];
    return [x(field.rowOf(c)), Number.isFinite(v) ? y(v) : NaN];
  });
  drawRun(g, points, field.exact ? dash : [], signs);
}

/** A line through points, broken where one is not finite; with signs on it from some x on. */
export function drawRun(g, points, dash = [], [sign, from] = ["", Infinity]) {
  const signed = [];
  let pen = false;
  g.setLineDash(dash);
  g.lineCap = "round";
  g.beginPath();
  for (const point of points) {
    const known = point.every(Number.isFinite);
    if (known && !pen) g.moveTo(...point);
    if (known) g.lineTo(...point); // also to where it is: a point, if nothing follows
    if (known && point[0] >= from) {
      signed.push(point);
      from = point[0] + SIGN_APART;
    }
    pen = known;
  }
  g.stroke();
  g.setLineDash([]);
  g.lineCap = "butt";
  for (const point of signed) g.fillText(sign, ...point);
}

/** The sign of a branch, and the x from which it is on its lines: not where those of others are. */
export const signsOf = (at, sign, number) => [sign, at.left + SIGN_APART * ((0.3 + 0.37 * number) % 1)];

/** One upright a pixel, never less than a point high: where all is flat there is still a line. */
function band(g, field, column, y) {
  g.globalAlpha = 0.7; // bands lie on each other
  for (let c = 0; c < field.columns; c++) {
    const [low, high] = field.ends(c, column);
    if (Number.isNaN(low)) continue;
    g.fillRect(field.at.left + c, y(high) - 0.6, 1, y(low) - y(high) + 1.2);
  }
  g.globalAlpha = 1;
}

/** Entries of these widths in rows of so much room: where each begins, and in which row. */
export function flow(widths, room) {
  let [x, row] = [0, 0];
  return widths.map((wide) => {
    if (x && x + wide > room) [x, row] = [0, row + 1];
    x += wide;
    return [x - wide, row];
  });
}

/**
 * A legend of lines `{ label, color, dash }` and signs `{ label, sign }`, in as many rows as it
 * takes: how much `more` height than one row that is, and how to `draw` it from a height on.
 */
export function legendOf(canvas, at, style, entries) {
  const g = canvas.getContext("2d");
  const font = g.font = `11px ${style.font}`;
  const wide = (text) => g.measureText(text).width;
  const labels = entries.map(({ label }) => shortened(label, Math.min(220, at.plot - 40), wide));
  const lead = (entry) => (entry.sign ? wide(entry.sign) + 6 : 24);
  const places = flow(entries.map((entry, k) => lead(entry) + wide(labels[k]) + 14), at.plot);
  const draw = (top) => {
    g.font = font;
    g.textAlign = "left";
    g.textBaseline = "middle";
    g.lineWidth = 2;
    entries.forEach((entry, k) => {
      const x = at.left + 6 + places[k][0];
      const y = top + LEGEND_ROW * places[k][1];
      g.fillStyle = style.text;
      if (entry.sign) g.fillText(entry.sign, x, y);
      else {
        g.strokeStyle = entry.color;
        drawRun(g, [[x, y], [x + 20, y]], entry.dash);
      }
      g.fillText(labels[k], x + lead(entry), y);
    });
  };
  return { more: LEGEND_ROW * (places.at(-1)?.[1] ?? 0), draw };
}
