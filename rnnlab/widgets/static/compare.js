import { el } from "./dom.js";
import { niceLimit } from "./colors.js";
import { MARKS, context, format, unitLabel } from "./stateview.js";

// Two branches over the same axis: how far apart their states are, layer by layer, and which
// units carry the difference. The other branch is held in a store of its own.

const DISTANCE_HIGH = 120;
const DISTANCE_TOP = 12;
const DISTANCE_BOTTOM = 18;
const CARRIERS = 5;

/** Root mean square difference of a lane's units at a row; NaN where one of them has none. */
export function distance(a, b, lane, row) {
  let sum = 0;
  for (let u = 0; u < lane.units; u++) {
    const d = a.value(row, lane.from + u) - b.value(row, lane.from + u);
    sum += d * d;
  }
  return Math.sqrt(sum / lane.units);
}

/** The units of the state lanes that differ most at a row: [lane, unit, difference]. */
export function carriers(a, b, lanes, row, count = CARRIERS) {
  const found = [];
  for (const lane of lanes.filter((l) => l.role === "state")) {
    for (let unit = 0; unit < lane.units; unit++) {
      const d = a.value(row, lane.from + unit) - b.value(row, lane.from + unit);
      if (Math.abs(d) >= 0.005) found.push([lane, unit, d]);
    }
  }
  return found.sort((p, q) => Math.abs(q[2]) - Math.abs(p[2])).slice(0, count);
}

export function compareView(link, choose) {
  const canvas = el("canvas");
  canvas.setAttribute("role", "img");
  const list = el("div", { className: "rl-bar rl-carriers" });
  const element = el("div", { className: "rl-compare" }, {}, canvas, list);
  const update = (store, at, style, name, step) => {
    const { other } = link;
    element.hidden = !name || !other.count || other.place.branch !== name
      || other.width !== store.width;
    if (element.hidden) return;
    const lanes = at.lanes.filter((l) => l.role === "state");
    drawDistances(canvas, store, other, at, lanes, style);
    canvas.ariaLabel = `Distance between ${store.place.branch} and ${name}, per layer and step`;
    const found = carriers(store, other, lanes, step);
    const key = found.map(([l, u]) => l.name + u).join() + step;
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    list.replaceChildren(
      el("span", { className: "rl-faint" }, {}, found.length
        ? `carry the difference at step ${step}:` : `no unit differs at step ${step}`),
      ...found.map(([lane, unit, d]) => el("button", { type: "button", title: "Select this unit" },
        { click: () => choose(lane.name, unit) },
        `${lane.name}[${unitLabel(lane, unit)}] ${d > 0 ? "+" : "−"}${Math.abs(d).toFixed(2)}`)));
  };
  return { element, update };
}

function drawDistances(canvas, store, other, at, lanes, style) {
  const g = context(canvas, DISTANCE_HIGH);
  g.fillStyle = style.background;
  g.fillRect(0, 0, canvas.clientWidth, DISTANCE_HIGH);
  g.font = `11px ${style.font}`;
  // a row a pixel at the most, of those that the page holds of both
  const every = Math.max(1, 1 / at.column);
  const rows = Array.from({ length: Math.floor((at.last - at.first) / every) },
    (_, i) => at.first + Math.floor(i * every));
  const curves = lanes.map((lane) => rows.map((row) => distance(store, other, lane, row)));
  const high = niceLimit(Math.max(...curves.flat().filter((v) => !Number.isNaN(v)), 1e-12));
  const y = (v) => DISTANCE_TOP + (1 - v / high) * (DISTANCE_HIGH - DISTANCE_TOP - DISTANCE_BOTTOM);
  g.strokeStyle = style.line;
  g.strokeRect(at.left - 0.5, DISTANCE_TOP - 0.5, at.plot + 1, DISTANCE_HIGH - DISTANCE_TOP - DISTANCE_BOTTOM + 1);
  g.fillStyle = style.text;
  g.textBaseline = "middle";
  g.font = `600 12px ${style.font}`;
  g.fillText("distance", 4, DISTANCE_TOP + 6, 76);
  g.font = `11px ${style.font}`;
  g.fillStyle = style.faint;
  g.fillText("RMS a unit", 4, DISTANCE_TOP + 22, 74);
  g.textAlign = "right";
  g.fillText(format(high), at.left - 8, DISTANCE_TOP + 4);
  g.fillText("0", at.left - 8, DISTANCE_HIGH - DISTANCE_BOTTOM - 4);
  let x = at.left + 6;
  g.textAlign = "left";
  curves.forEach((curve, k) => {
    const [color, dash] = MARKS[k % MARKS.length];
    g.strokeStyle = color;
    g.lineWidth = 1.8;
    g.setLineDash(dash);
    g.beginPath();
    curve.forEach((v, i) => {
      if (!Number.isNaN(v)) g.lineTo(at.left + (rows[i] - at.first + 0.5) * at.column, y(v));
    });
    g.stroke();
    g.beginPath();
    g.moveTo(x, DISTANCE_HIGH - 7);
    g.lineTo(x + 20, DISTANCE_HIGH - 7);
    g.stroke();
    g.setLineDash([]);
    g.fillStyle = style.text;
    g.fillText(lanes[k].name, x + 24, DISTANCE_HIGH - 7);
    x += g.measureText(lanes[k].name).width + 40;
  });
}
