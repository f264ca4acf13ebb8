import { el } from "./dom.js";
import { niceLimit } from "./colors.js";
import { MARKS, context, format, unitLabel } from "./stateview.js";

// Branches over the same axis: how far apart their states are, layer by layer, and which units
// carry the difference. Each other branch is held in a store of its own.

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

export function compareView(model, link, choose) {
  const said = el("p", { className: "rl-faint" });
  const choices = el("div", { className: "rl-choices", role: "group", ariaLabel: "Compare with" });
  const list = el("div", { className: "rl-bar rl-chips rl-carriers" });
  const partly = el("p", { className: "rl-faint" });
  const element = el("div", { className: "rl-compare" }, {}, said, choices, partly, list);
  const strip = el("canvas", { role: "img", className: "rl-strip" });

  const toggle = (name, on) => {
    const names = model.get("compared").filter((other) => other !== name);
    link.send("compare", { branches: on ? [...names, name] : names });
  };

  function listBranches(names, others, place) {
    const key = JSON.stringify(names);
    if (choices.dataset.key !== key) {
      choices.dataset.key = key;
      choices.replaceChildren(...names.map((name) => {
        const box = el("input", { type: "checkbox", value: name }, { change: () => toggle(name, box.checked) });
        return el("label", {}, {}, box, name);
      }));
    }
    for (const box of choices.querySelectorAll("input")) box.checked = model.get("compared").includes(box.value);
    said.textContent = !names.length
      ? "There is one branch. Go back and step on, or set a unit by hand: that makes another."
      : others.length ? `${place.branch} beside ${others.map(([name]) => name).join(", ")}`
        : `Put another branch beside ${place.branch}:`;
  }

  const update = ({ store, at, lanes, style, step, others, place }) => {
    listBranches(model.get("branches").filter((name) => name !== place.branch), others, place);
    strip.hidden = !others.length;
    list.hidden = !others.length;
    partly.hidden = true;
    if (!others.length) return;
    const states = lanes.filter((l) => l.role === "state");
    const gap = drawDistances(strip, store, others, at, states, style);
    partly.hidden = !gap;
    partly.textContent = at.column < 1
      ? "The distance is drawn where the single steps are at hand: zoom in to see it elsewhere."
      : "The distance is drawn where the steps of both branches are here; others are on their way.";
    strip.ariaLabel = `Distance between ${place.branch} and ${others.map(([name]) => name).join(", ")}, `
      + "per layer and step";
    const beyond = step > others[0][1].place.length;
    const found = beyond ? [] : carriers(store, others[0][1], states, step);
    const key = JSON.stringify([found.map(([l, u]) => [l.name, u]), step, others[0][0], beyond]);
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    const against = others.length > 1 ? ` from ${others[0][0]}` : "";
    list.replaceChildren(
      el("span", { className: "rl-faint" }, {}, beyond
        ? `${others[0][0]} ends at step ${others[0][1].place.length}: there is no step ${step} to compare.` : found.length
        ? `At step ${step} the difference${against} is carried by` : `At step ${step} no unit differs${against}.`),
      ...found.map(([lane, unit, d]) => el("button", { type: "button", title: "Select this unit" },
        { click: () => choose(lane.name, unit) },
        `${lane.name}[${unitLabel(lane, unit)}] ${d > 0 ? "+" : "−"}${Math.abs(d).toFixed(2)}`)));
  };
  return { name: "Compare", element, strip, update };
}

/**
 * A curve for each layer and branch: colour tells the layer, dashes the branch. Returns whether rows
 * that the branches share in time are not held, so that the curve lacks them.
 */
function drawDistances(canvas, store, others, at, lanes, style) {
  const g = context(canvas, DISTANCE_HIGH);
  g.fillStyle = style.background;
  g.fillRect(0, 0, canvas.clientWidth, DISTANCE_HIGH);
  // a row a pixel at the most, of those that the page holds of both
  const every = Math.max(1, 1 / at.column);
  const rows = Array.from({ length: Math.floor((at.last - at.first) / every) },
    (_, i) => at.first + Math.floor(i * every));
  const curves = others.flatMap(([name, other], b) => lanes.map((lane, k) => ({
    label: others.length > 1 ? `${lane.name} · ${name}` : lane.name,
    color: MARKS[k % MARKS.length][0],
    dash: others.length > 1 ? MARKS[b % MARKS.length][1] : MARKS[k % MARKS.length][1],
    values: rows.map((row) => distance(store, other, lane, row)),
  })));
  const known = curves.flatMap((curve) => curve.values).filter((v) => !Number.isNaN(v));
  const high = niceLimit(known.reduce((m, v) => Math.max(m, v), 1e-12));
  const y = (v) => DISTANCE_TOP + (1 - v / high) * (DISTANCE_HIGH - DISTANCE_TOP - DISTANCE_BOTTOM);
  g.strokeStyle = style.line;
  g.strokeRect(at.left - 0.5, DISTANCE_TOP - 0.5, at.plot + 1, DISTANCE_HIGH - DISTANCE_TOP - DISTANCE_BOTTOM + 1);
  g.fillStyle = style.text;
  g.textBaseline = "middle";
  g.textAlign = "left";
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
  for (const { label, color, dash, values } of curves) {
    g.strokeStyle = color;
    g.lineWidth = 1.8;
    g.setLineDash(dash);
    g.beginPath();
    let pen = false; // rows that are not held leave a gap
    values.forEach((v, i) => {
      const known = !Number.isNaN(v);
      if (known) g[pen ? "lineTo" : "moveTo"](at.left + (rows[i] - at.first + 0.5) * at.column, y(v));
      pen = known;
    });
    g.stroke();
    const wide = g.measureText(label).width + 40;
    if (x + wide > at.left + at.plot) continue; // colours and dashes repeat those named before
    g.beginPath();
    g.moveTo(x, DISTANCE_HIGH - 7);
    g.lineTo(x + 20, DISTANCE_HIGH - 7);
    g.stroke();
    g.fillStyle = style.text;
    g.fillText(label, x + 24, DISTANCE_HIGH - 7);
    x += wide;
  }
  g.setLineDash([]);
  const shared = Math.min(store.place.length, ...others.map(([, other]) => other.place.length));
  return curves.some(({ values }) => values.some((v, i) => rows[i] <= shared && Number.isNaN(v)));
}
