import { readable } from "./colors.js";
import { el } from "./dom.js";
import { spanText } from "./find.js";
import { shortName } from "./labels.js";
import { drawRun } from "./lines.js";
import { context, mark } from "./stateview.js";

// The path of a state in a fixed principal plane. The kernel fits the plane, once; the page places
// every state of every branch in it, so that nothing moves when a branch is added.

const PLANE_HIGH = 260;
const PLANE_MARGIN = 18;
const DOTTED = 300;
const SIGNED = 60; // signs on the path of another branch, at the most
const RECENT = 60; // steps of a long path that are drawn in full, up to the one looked at

/** The states that have a plane: each lane of several units, and all of them side by side. */
export function planeLanes(lanes) {
  const states = lanes.filter((l) => l.role === "state");
  const several = states.filter((l) => l.units > 1);
  const adjacent = states.every((l, k) => !k || l.from === states[k - 1].from + states[k - 1].units);
  if (states.length < 2 || !adjacent) return several;
  const units = states.reduce((sum, l) => sum + l.units, 0);
  return [{ name: "", title: "the whole state", from: states[0].from, units }, ...several];
}

/** A state in the plane: its two coordinates; NaN where it is not known. */
export function project(store, row, lane, plane) {
  let a = 0;
  let b = 0;
  for (let u = 0; u < lane.units; u++) {
    const d = store.value(row, lane.from + u) - plane.mean[u];
    a += d * plane.axes[0][u];
    b += d * plane.axes[1][u];
  }
  return [a, b];
}

/** Which state the plane is of, and a button to fit it anew; shared by Trajectory and Dynamics. */
export function planeChoice(model, link, label) {
  const fit = (span = null) => link.send("plane", { name: choice.value, span });
  const span = () => { // the one selected, if a plane can be fitted to it
    const [first, last] = model.get("selection").span ?? [0, 0];
    return model.get("recorded") || last - Math.max(first, 1) < 2 ? null : [first, last];
  };
  const choice = el("select", { ariaLabel: label }, { change: () => fit() });
  const button = el("button", { type: "button", title: "Fit the plane to the current branch, or to the span of it that is selected" },
    { click: () => fit(span()) });
  let names = "";
  let asked = false;
  /** The plane and the lane that it is of, once both are there. */
  const update = (store, lanes) => {
    const found = planeLanes(lanes);
    const key = found.map((l) => l.name).join("\n");
    if (names !== key) {
      names = key;
      choice.replaceChildren(...found.map((l) =>
        el("option", { value: l.name }, {}, l.title ?? l.name)));
    }
    button.textContent = span() ? `Fit plane to ${spanText(span())}` : "Fit plane";
    button.disabled = choice.disabled = store.place.length < 3 || !found.length;
    const { plane } = link;
    const lane = plane && found.find((l) => l.name === plane.name);
    if (lane) {
      choice.value = plane.name;
      return { plane, lane };
    }
    if (!asked && !button.disabled) {
      asked = true;
      fit();
    }
    return null;
  };
  return { element: el("div", { className: "rl-bar" }, {}, choice, button), update };
}

export const planeText = (plane) =>
  `The axes hold ${plane.variance.map((v) => `${(100 * v).toFixed(0)} %`).join(" and ")} `
  + `of the variance of ${plane.fit}.`;

export function trajectoryView(model, link) {
  const choice = planeChoice(model, link, "State of the trajectory");
  const canvas = el("canvas", { role: "img" });
  const said = el("p", { className: "rl-faint" });
  const element = el("div", {}, {}, choice.element, canvas, said);
  const update = ({ store, lanes, style, step, others }) => {
    const found = choice.update(store, lanes);
    canvas.hidden = !found;
    if (!found) {
      said.textContent = lanes.some((l) => l.role === "state" && l.units > 1) || planeLanes(lanes).length
        ? "Record at least 3 steps to see their path." : "A path needs a state of several units.";
      return;
    }
    const { plane, lane } = found;
    const named = others.map(([name, , sign]) => `${sign} ${shortName(name)}`).join(", ");
    const lacks = paint(canvas, store, others, lane, plane, style, step)
      ? " Steps that are not finite are left out." : "";
    const faint = store.count > DOTTED ? `, in full the ${RECENT} steps up to it` : "";
    said.textContent = `${planeText(plane)} ○ step ${step}${faint}${named && `; dashed: ${named}`}.${lacks}`;
    canvas.ariaLabel = `Path of ${lane.title ?? lane.name} in its principal plane. ${said.textContent}`;
  };
  return { name: "Trajectory", element, update };
}

/** Draw the paths; whether a step of one is not finite. */
function paint(canvas, store, others, lane, plane, style, step) {
  const g = context(canvas, PLANE_HIGH, style);
  const width = canvas.clientWidth;
  const pathOf = (of) => Array.from({ length: of.count }, (_, i) => project(of, of.first + i, lane, plane));
  const path = pathOf(store);
  const old = others.map(([, other]) => { // what it shares with the current one is drawn once
    const points = pathOf(other);
    const same = (i) => points[i]?.every((v, k) => v === path[i + other.first - store.first]?.[k]);
    return points.map((p, i) => (same(i) && same(i + 1) ? [] : p));
  });
  const all = [path, ...old].flat();
  const reach = [...plane.reach];
  for (const p of all) {
    for (const k of [0, 1]) if (Math.abs(p[k]) > reach[k] && p.every(Number.isFinite)) reach[k] = Math.abs(p[k]);
  }
  const x = (p) => width / 2 + (p[0] / reach[0]) * (width / 2 - PLANE_MARGIN);
  const y = (p) => PLANE_HIGH / 2 - (p[1] / reach[1]) * (PLANE_HIGH / 2 - PLANE_MARGIN);
  planeFrame(g, width, PLANE_HIGH, style);
  const dots = (points, most, draw) => {
    const every = Math.ceil(points.length / most);
    for (let i = 0; i < points.length; i += every) if (points[i].every(Number.isFinite)) draw(points[i], i);
  };
  g.textAlign = "center";
  g.textBaseline = "middle";
  drawPath(g, path, x, y, style.text, [], step - store.first);
  others.forEach(([, other, sign], b) => {
    const [color, dash] = mark(b + 1);
    g.fillStyle = readable(color, style.background, 4.5);
    drawPath(g, old[b], x, y, g.fillStyle, dash, step - other.first);
    dots(old[b].filter((p) => p.length), SIGNED, (p) => g.fillText(sign, x(p), y(p)));
  });
  g.fillStyle = g.strokeStyle = style.text;
  if (path.length <= DOTTED) dots(path, DOTTED, (p, i) => {
    g.beginPath();
    g.arc(x(p), y(p), 2.5, 0, 7);
    if (store.first + i > store.place.t) g.stroke(); // to come again: hollow
    else g.fill();
  });
  const here = project(store, step, lane, plane);
  if (here.every(Number.isFinite)) {
    g.strokeStyle = style.accent;
    g.lineWidth = 2.5;
    g.beginPath();
    g.arc(x(here), y(here), 6, 0, 7);
    g.stroke();
  }
  return !all.flat().every(Number.isFinite);
}

/** The frame of a plane and what its axes are. */
export function planeFrame(g, width, height, style) {
  g.strokeStyle = style.line;
  g.lineWidth = 1;
  g.strokeRect(0.5, 0.5, width - 1, height - 1);
  g.font = `11px ${style.font}`;
  g.fillStyle = style.faint;
  g.textBaseline = "alphabetic";
  g.textAlign = "right";
  g.fillText("PC 1 →", width - 5, height - 6);
  g.textAlign = "left";
  g.fillText("PC 2 ↑", 5, 13);
}

/** A path of points; of a long one only what leads to point `here` is in full: the rest is a ground. */
export function drawPath(g, path, x, y, color, dash, here) {
  const points = path.map((p) => [x(p), y(p)]);
  g.strokeStyle = color;
  g.lineWidth = 1.2;
  if (path.length > DOTTED) {
    g.globalAlpha = 0.35;
    drawRun(g, points, dash);
    g.globalAlpha = 1;
  }
  drawRun(g, path.length > DOTTED ? points.slice(Math.max(0, here - RECENT), Math.max(0, here + 1)) : points, dash);
}
