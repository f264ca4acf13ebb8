import { el } from "./dom.js";
import { niceLimit, readable } from "./colors.js";
import { spanText } from "./find.js";
import { shortName, visible } from "./labels.js";
import { drawRun, legendOf, signsOf } from "./lines.js";
import { shown } from "./sidebar.js";
import { context, format, mark, midOf, unitLabel } from "./stateview.js";

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

/** The units of the state lanes that differ most at a row: [lane, unit, its value, the other's]. */
export function carriers(a, b, lanes, row, count = CARRIERS) {
  const found = [];
  for (const lane of lanes.filter((l) => l.role === "state")) {
    for (let unit = 0; unit < lane.units; unit++) {
      const [p, q] = [a, b].map((store) => store.value(row, lane.from + unit));
      if (!Object.is(p, q)) found.push([lane, unit, p, q]);
    }
  }
  // what is not finite is as far away as can be
  const far = ([, , p, q]) => (Number.isFinite(p - q) ? Math.abs(p - q) : Infinity);
  return found.filter(far).sort((p, q) => (far(q) > far(p)) - (far(q) < far(p))).slice(0, count);
}

/** Of some rows those in which a state of a store is not finite, as steps in words. */
export function oddSteps(store, lanes, rows) {
  const spans = [];
  let open = null;
  for (const row of rows) {
    // what is not finite has no distance to itself either
    const odd = store.holds(row) && lanes.some((lane) => Number.isNaN(distance(store, store, lane, row)));
    if (odd && open) open[1] = row;
    else if (odd) spans.push(open = [row, row]);
    else open = null;
  }
  return spans.slice(0, 3).map(spanText).join(", ") + (spans.length > 3 ? ", …" : "");
}

/** How far a unit is from another branch's, in words. */
const apart = (p, q) => (Number.isFinite(p - q) ? `${p > q ? "+" : "−"}${format(Math.abs(p - q))}`
  : `${shown(p, "NaN")} against ${shown(q, "NaN")}`);

export function compareView(model, link, choose) {
  const said = el("p", { className: "rl-faint" });
  const choices = el("div", { className: "rl-choices", role: "group", ariaLabel: "Compare with" });
  const list = el("div", { className: "rl-carriers" });
  const partly = el("p", { className: "rl-faint" });
  const odd = el("p", { className: "rl-wrong" });
  const element = el("div", { className: "rl-compare" }, {}, said, choices, odd, partly, list);
  const strip = el("canvas", { role: "img", className: "rl-strip" });

  function listBranches(names, others, place) {
    const compared = model.get("compared");
    const key = JSON.stringify([names, compared]);
    const told = choices.dataset.key !== key; // else a tick is not answered yet: it stays
    choices.dataset.key = key;
    if (choices.dataset.names !== JSON.stringify(names)) {
      choices.dataset.names = JSON.stringify(names);
      choices.replaceChildren(...names.map((name) => {
        const box = el("input", { type: "checkbox", value: name }, {
          // this one alone: what the page knows of the others may be older than the tick before
          change: () => link.send("compare", { branch: name, on: box.checked }),
        });
        return el("div", { title: visible(name) }, {}, el("label", {}, {}, box, shortName(name)), el("span"));
      }));
    }
    for (const choice of choices.children) {
      const box = choice.querySelector("input");
      if (told) box.checked = compared.includes(box.value);
      choice.lastChild.textContent = others.find(([name]) => name === box.value)?.[2] ?? "";
    }
    said.textContent = !names.length
      ? model.get("recorded") ? "This recording has one branch." : "There is one branch. Go back and step on, or set a unit by hand: that makes another."
      : `Put ${others.length ? "others" : "another branch"} beside ${shortName(place.branch)}:`;
  }

  const update = ({ store, at, lanes, style, step, others, place }) => {
    listBranches(model.get("branches").filter((name) => name !== place.branch), others, place);
    strip.hidden = list.hidden = !others.length;
    partly.hidden = odd.hidden = true;
    if (!others.length) return;
    const states = lanes.filter((l) => l.role === "state");
    const { lacks, lost } = drawDistances(strip, store, others, at, states, style);
    partly.hidden = !lacks;
    partly.textContent = at.column < 1
      ? "The distance is drawn where the single steps are at hand: zoom in to see it elsewhere."
      : "The distance is drawn where the steps of both branches are here; others are on their way.";
    odd.hidden = !lost;
    odd.textContent = `No distance where a state is not finite (NaN, ∞): ${lost}.`;
    const names = others.map(([name]) => shortName(name));
    strip.ariaLabel = `Distance between ${shortName(place.branch)} and ${names.join(", ")}, per layer and step`;
    const told = others.map(([, other, sign], k) => {
      const it = `${sign} ${names[k]}`;
      const { length } = other.place;
      if (step > length) return [`${it} ends at step ${length}: there is no step ${step} to compare.`];
      if (!other.holds(step) || !store.holds(step)) return [`${it}: step ${step} is on its way.`];
      const found = carriers(store, other, states, step);
      return [`At step ${step} ${found.length ? `the difference from ${it} is carried by` : `no unit differs from ${it}.`}`,
        ...found.map(([lane, unit, ...values]) => [lane.name, unit, `${lane.name}[${unitLabel(lane, unit)}] ${apart(...values)}`])];
    });
    const key = JSON.stringify(told);
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    list.replaceChildren(...told.map(([text, ...found]) => el("div", { className: "rl-bar rl-chips" }, {},
      el("span", { className: "rl-faint" }, {}, text),
      ...found.map(([name, unit, label]) => el("button", { type: "button", title: "Select this unit" },
        { click: () => choose(name, unit) }, label)))));
  };
  return { name: "Compare", element, strip, update };
}

/**
 * A curve for each layer and branch: colour and dashes tell the layer, signs the branch. Returns
 * whether it `lacks` rows that the branches share in time and that are not held, and where states
 * are not finite: `lost`.
 */
export function drawDistances(canvas, store, others, at, lanes, style) {
  // a row a pixel at the most, of those that the page holds of both
  const every = Math.max(1, 1 / at.column);
  const rows = Array.from({ length: Math.floor((at.last - at.first) / every) },
    (_, i) => at.first + Math.floor(i * every));
  const layers = lanes.map((lane, k) =>
    ({ label: lane.name, color: readable(mark(k)[0], style.background), dash: mark(k)[1] }));
  const curves = others.flatMap(([, other, sign], b) => lanes.map((lane, k) => (
    { ...layers[k], sign, b, values: rows.map((row) => distance(store, other, lane, row)) })));
  const known = curves.flatMap((curve) => curve.values).filter(Number.isFinite);
  const high = niceLimit(known.reduce((m, v) => Math.max(m, v), 0));
  const y = (v) => DISTANCE_TOP + (1 - v / high) * (DISTANCE_HIGH - DISTANCE_TOP - DISTANCE_BOTTOM);
  const legend = legendOf(canvas, at, style,
    [...layers, ...others.map(([name, , sign]) => ({ label: shortName(name), sign }))]);
  const g = context(canvas, DISTANCE_HIGH + legend.more, style);
  g.strokeStyle = style.line;
  g.strokeRect(at.left - 0.5, DISTANCE_TOP - 0.5, at.plot + 1, DISTANCE_HIGH - DISTANCE_TOP - DISTANCE_BOTTOM + 1);
  g.fillStyle = style.text;
  g.textAlign = "left";
  g.font = `600 12px ${style.font}`;
  g.fillText("distance", 4, DISTANCE_TOP + 6, 76);
  g.font = `11px ${style.font}`;
  g.fillStyle = style.faint;
  g.fillText("RMS a unit", 4, DISTANCE_TOP + 22, 74);
  g.textAlign = "right";
  g.fillText(format(high), at.left - 8, DISTANCE_TOP + 4);
  g.fillText("0", at.left - 8, DISTANCE_HIGH - DISTANCE_BOTTOM - 4);
  g.textAlign = "center";
  for (const { color, dash, sign, b, values } of curves) {
    const points = values.map((v, i) => [midOf(at, rows[i]), y(v)]);
    g.strokeStyle = g.fillStyle = color;
    g.lineWidth = 1.8;
    drawRun(g, points, dash, signsOf(at, sign, b));
  }
  legend.draw(DISTANCE_HIGH - 7);
  const here = (row, one) => row > Math.min(store.place.length, one.place.length) || (store.holds(row) && one.holds(row));
  const lacks = rows.some((row) => others.some(([, other]) => !here(row, other)));
  const lost = known.length === curves.length * rows.length ? ""
    : [[store.place.branch, store], ...others].map(([name, one]) => [shortName(name), oddSteps(one, lanes, rows)])
      .filter(([, steps]) => steps).map((pair) => pair.join(" at ")).join("; ");
  return { lacks, lost };
}
