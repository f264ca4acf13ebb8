import { el } from "./dom.js";
import { context } from "./stateview.js";

// The path of one state in a fixed principal plane. The kernel fits the plane, once; the page
// places every state of every branch in it, so that nothing moves when a branch is added.

const PLANE_HIGH = 230;
const PLANE_MARGIN = 16;

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

export function trajectoryView(link) {
  const choice = el("select", { ariaLabel: "State of the trajectory" }, {
    change: () => link.send("plane", { name: choice.value }),
  });
  const fit = el("button", { type: "button", title: "Fit the plane to the current branch" },
    { click: () => link.send("plane", { name: choice.value }) }, "Fit plane");
  const canvas = el("canvas");
  canvas.setAttribute("role", "img");
  const said = el("div", { className: "rl-faint" });
  const element = el("section", { className: "rl-trajectory", ariaLabel: "Trajectory" }, {},
    el("div", { className: "rl-bar" }, {}, el("h4", {}, {}, "Trajectory of"), choice, fit),
    canvas, said);
  let names = "";
  const update = (store, at, style, step) => {
    const lanes = at.lanes.filter((l) => l.role === "state" && l.units > 1);
    element.hidden = !lanes.length;
    if (element.hidden) return;
    if (names !== lanes.map((l) => l.name).join()) {
      names = lanes.map((l) => l.name).join();
      choice.replaceChildren(...lanes.map((l) => el("option", { value: l.name }, {}, l.name)));
    }
    const { plane } = link;
    const lane = plane && lanes.find((l) => l.name === plane.name);
    canvas.hidden = !lane;
    if (!lane) {
      said.textContent = "Record a few steps, then press Fit plane.";
      return;
    }
    choice.value = plane.name;
    const share = plane.variance.map((v) => `${(100 * v).toFixed(0)} %`).join(" and ");
    said.textContent = `Axes explain ${share} of the variance of ${plane.fit}.`;
    paint(canvas, store, link.other, at, lane, plane, style, step);
    canvas.ariaLabel = `Trajectory of ${plane.name} in its principal plane. ${said.textContent}`;
  };
  return { element, update };
}

function paint(canvas, store, other, at, lane, plane, style, step) {
  const g = context(canvas, PLANE_HIGH);
  const width = canvas.clientWidth;
  g.fillStyle = style.background;
  g.fillRect(0, 0, width, PLANE_HIGH);
  const rows = Array.from({ length: store.count }, (_, i) => store.first + i);
  const path = rows.map((row) => project(store, row, lane, plane));
  const ghost = other.count && other.width === store.width
    ? Array.from({ length: other.count }, (_, i) => project(other, other.first + i, lane, plane))
    : [];
  const reach = [0, 1].map((k) =>
    Math.max(plane.reach[k], ...[...path, ...ghost].map((p) => Math.abs(p[k]) || 0)));
  const x = (p) => width / 2 + (p[0] / reach[0]) * (width / 2 - PLANE_MARGIN);
  const y = (p) => PLANE_HIGH / 2 - (p[1] / reach[1]) * (PLANE_HIGH / 2 - PLANE_MARGIN);
  g.strokeStyle = style.line;
  g.lineWidth = 1;
  g.strokeRect(0.5, 0.5, width - 1, PLANE_HIGH - 1);
  g.font = `11px ${style.font}`;
  g.fillStyle = style.faint;
  g.fillText("PC 1 →", width - 46, PLANE_HIGH - 6);
  g.fillText("PC 2 ↑", 4, 12);
  line(g, ghost, x, y, style.faint, [4, 4]);
  line(g, path, x, y, style.text, []);
  for (const [i, p] of path.entries()) {
    if (Number.isNaN(p[0]) || path.length > 300) continue;
    g.fillStyle = rows[i] > store.place.t ? style.line : style.text;
    g.beginPath();
    g.arc(x(p), y(p), 2.5, 0, 7);
    g.fill();
  }
  const here = path[step - store.first];
  if (here && !Number.isNaN(here[0])) {
    g.strokeStyle = style.accent;
    g.lineWidth = 2.5;
    g.beginPath();
    g.arc(x(here), y(here), 6, 0, 7);
    g.stroke();
  }
}

function line(g, path, x, y, color, dash) {
  g.strokeStyle = color;
  g.lineWidth = 1.2;
  g.setLineDash(dash);
  g.beginPath();
  for (const p of path) if (!Number.isNaN(p[0])) g.lineTo(x(p), y(p));
  g.stroke();
  g.setLineDash([]);
}
