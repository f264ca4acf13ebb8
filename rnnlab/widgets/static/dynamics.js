import { basinShare, basinText, drawBasins, drawEnds } from "./basins.js";
import { el } from "./dom.js";
import { context, laneLimit, unitLabel } from "./stateview.js";
import { workStatus } from "./memory.js";
import { drawPath, planeChoice, planeFrame, project } from "./trajectory.js";
import { busy, current } from "./work.js";

// What a constant input does to all states near the run: the flow in the principal plane, the fixed
// points, which move, appear and annihilate as the input is changed, and the basins of these.

const FLOW_TALLEST = 380;
const FLOW_MARGIN = 18;
const POINTS_LISTED = 30;
const SIGNS = { stable: "●", saddle: "◐", unstable: "○", marginal: "◇" };

export const pointSign = (kind) => SIGNS[kind] ?? "▭";

/** A time in steps as the list shows it. */
export const stepsText = (tau) =>
  (tau === null ? "∞" : tau < 9.95 ? tau.toFixed(1) : tau < 1e5 ? String(Math.round(tau)) : tau.toExponential(0));

/** What was found, how sure that is, and what was not kept. */
export function searchText({ count, listed, complete, index_sum: sum, rejected, starts, thorough, failed, units }) {
  const rest = Object.entries(rejected).filter(([, n]) => n).map(([why, n]) => `${n} ${why}`);
  const points = `${count} fixed ${count === 1 ? "point" : "points"} in ${units} dimensions`;
  const resting = listed.some(({ kind }) => kind !== "saddle" && kind !== "unstable")
    ? "" : `, ${count === 1 ? "not" : "none of them"} stable: states run in a cycle or wander`;
  const how = thorough ? "searched everywhere" : "looked for near the plane and the last points";
  const signed = sum === null ? "" : sum > 0 ? `+${sum}` : String(sum).replace("-", "−");
  const sure = complete === true ? "complete as far as the index sum tells (+1)"
    : complete === false ? `incomplete: the index sum is ${signed}, it must be +1`
      : "no check of completeness applies";
  const lost = rest.length ? ` Of ${starts} starts: ${rest.join(", ")}.` : "";
  return `${points}${count ? resting : ""}; ${how}; ${sure}.${lost}${failed.length ? ` ${failed.join(" ")}` : ""}`;
}

/** How far a point lies off the plane that it is drawn in, as the list shows it. */
export const awayText = (away) => (away < 1e-6 ? "0" : String(Number(away.toPrecision(2))));

/** Which points of the list the picture has no place for; "" if none. */
export function outsideText(listed, window) {
  const out = listed.flatMap(({ at }, k) => (at.some((v, axis) => Math.abs(v) > window[axis]) ? [k + 1] : []));
  return out.length ? ` Outside the picture: ${out.join(", ")}.` : "";
}

/** The points with their places in the list, those that lie nearest to the plane last: on top. */
export const byNearness = (listed) => [...listed.entries()].sort(([, a], [, b]) => b.away - a.away);

/** How strongly a point so far off the plane is drawn. */
export const nearness = (away, window) => Math.max(0.35, 1 - away / Math.hypot(...window));

/** An arrow's length (0 to 1) and opacity from its velocity in the plane and the share out of it. */
export function arrow(inPlane, fastest, out) {
  const length = fastest > 0 ? Math.sqrt(inPlane / fastest) : 0;
  return { length, opacity: 0.15 + 0.85 * (1 - out) };
}

export function dynamicsView(model, link) {
  const choice = planeChoice(model, link, "State of the plane");
  const feature = el("select", { ariaLabel: "Input to change" }, { change: () => link.changed() });
  const slider = el("input", { type: "range", ariaLabel: "Value of the input" }, {
    input: () => { set.set(Number(feature.value), slider.valueAsNumber); link.changed(); },
  });
  const shown = el("output");
  const back = el("button", { type: "button", title: "The input that was fed at the step looked at" },
    { click: () => { set.clear(); link.changed(); } }, "As fed");
  const shade = el("input", { type: "checkbox", checked: true }, { change: () => link.changed() });
  const set = new Map();
  const status = workStatus(link, "dynamics");
  const every = el("button", { type: "button", title: "Search the whole invariant set for fixed points; for many units this takes a while" },
    { click: () => { thorough = link.works.get("dynamics").key; link.changed(); } }, "Search everywhere");
  let thorough = "";
  const canvas = el("canvas", { role: "img" });
  const legend = el("p", { className: "rl-faint" });
  const said = el("p");
  const table = el("table", { className: "rl-points" });
  const controls = el("div", { className: "rl-form" }, {},
    el("label", {}, {}, "Input", feature), el("div", { className: "rl-slide" }, {}, slider, shown, back),
    el("label", { title: "Shade the states of the plane by what they run to" }, {}, "Basins", shade));
  const ends = el("p");
  const parts = [controls, canvas, legend, said, ends, every, table];
  const element = el("div", {}, {}, choice.element, controls, canvas, legend, status.element, said, ends, every, table);

  const update = ({ store, lanes, style, step, place }) => {
    const lane = lanes.find((l) => l.role === "input");
    const found = choice.update(store, lanes);
    const none = !lane ? "The flow shows what the same numbers, fed again and again, do to the state. This model is not fed numbers." : found ? ""
      : "Record at least 3 steps of a state of several units: they give the plane.";
    const asleep = status.asleep(model, none);
    for (const part of parts) part.hidden = asleep;
    if (asleep) return;
    const fed = Math.max(1, step);
    const x = Array.from({ length: lane.units }, (_, u) => {
      const v = store.value(fed, lane.from + u);
      return set.get(u) ?? (Number.isNaN(v) ? 0 : v);
    });
    offerInputs(feature, slider, lane, store);
    const u = Number(feature.value);
    if (document.activeElement !== slider || !set.has(u)) slider.value = x[u];
    shown.textContent = rounded3(x[u]);
    slider.ariaValueText = `${featureName(lane, u)} = ${rounded3(x[u])}`;
    back.disabled = !set.size;
    // a plane of the whole state does not depend on where the run is
    const held = found.plane.name ? step : 0;
    const detail = { branch: place.branch, name: found.plane.name, fit: found.plane.fit, step: held, x,
      basins: shade.checked };
    const wanted = JSON.stringify(detail) === withoutSearch(thorough) ? { ...detail, thorough: true } : detail;
    const work = link.works.want("dynamics", wanted);
    status.update(work);
    const { flow, points } = work.parts;
    const basins = shade.checked && points ? work.parts.basins : null;
    const stale = (part) => busy(work) && !current(work, part);
    paintFlow(canvas, store, found, { flow, points, basins }, style, step, stale);
    ends.textContent = basins && !stale("basins") ? basinText(basins, points) : "";
    canvas.ariaLabel = `Flow in the principal plane of ${found.lane.title ?? found.lane.name}`
      + `${points ? `; ${points.count} fixed points, listed below` : ""}${ends.textContent && "; basins outlined"}`;
    const changed = [...set].map(([k, v]) => `${featureName(lane, k)} = ${rounded3(v)}`).join(", ");
    legend.textContent = `Input of step ${fed}${changed ? ` with ${changed}` : ""}. `
      + "● stable ◐ saddle ○ unstable ◇ marginal, the fainter the farther off the plane; ✕ the state looked at.";
    said.textContent = points
      ? searchText(points) + outsideText(points.listed, flow?.window ?? found.plane.reach) : "";
    every.hidden = !points || points.thorough || busy(work);
    listPoints(table, points, basins?.request === points?.request ? basins : null);
  };
  const leave = () => link.works.leave("dynamics");
  return { name: "Dynamics", element, update, leave };
}

const withoutSearch = (key) => (key ? JSON.stringify({ ...JSON.parse(key), thorough: undefined }) : "");
const featureName = (lane, u) => (lane.labels ? unitLabel(lane, u) : `${lane.name}[${u}]`);
const rounded3 = (v) => String(Number(v.toFixed(3))).replace("-", "−");

function offerInputs(feature, slider, lane, store) {
  const limit = laneLimit(lane, store);
  const low = lane.kind === "signed" ? -limit : 0;
  if (Number(slider.max) !== limit || Number(slider.min) !== low) {
    Object.assign(slider, { min: low, max: limit, step: (limit - low) / 200 });
  }
  const key = JSON.stringify([lane.name, lane.units, lane.labels]);
  if (feature.dataset.key === key) return;
  feature.dataset.key = key;
  feature.replaceChildren(...Array.from({ length: lane.units }, (_, u) =>
    el("option", { value: u }, {}, featureName(lane, u))));
}

function listPoints(table, points, basins) {
  const key = points ? points.request + points.thorough + Boolean(basins) : "";
  if (table.dataset.key === key) return;
  table.dataset.key = key;
  table.hidden = !points?.count;
  if (!points?.count) return;
  const cell = (tag, text) => el(tag, {}, {}, text);
  const flat = points.units <= 2; // then the plane is all there is
  const head = el("tr", {}, {}, ...["", "kind", "unstable directions", "slowest mode", "residual",
    ...(flat ? [] : ["off the plane"]), ...(basins ? ["basin"] : [])]
    .map((text) => el("th", { scope: "col" }, {}, text)));
  const rows = points.listed.slice(0, POINTS_LISTED).map((point, k) => {
    const { kind, index, residual, tau, grows, away } = point;
    return el("tr", {}, {}, cell("td", `${k + 1} ${pointSign(kind)}`), cell("td", kind), cell("td", String(index)),
      cell("td", `${grows ? "grows" : "fades"} in ${stepsText(tau)} steps`),
      cell("td", residual ? residual.toExponential(0).replace("-", "−") : "0"),
      ...(flat ? [] : [cell("td", awayText(away))]),
      ...(basins ? [cell("td", basinShare(point, basins))] : []));
  });
  table.replaceChildren(el("caption", {}, {}, "Fixed points at this input"), el("thead", {}, {}, head),
    el("tbody", {}, {}, ...rows));
  if (points.count > POINTS_LISTED) table.tBodies[0].append(el("tr", {}, {}, el("td", { colSpan: 7 }, {}, `and ${points.count - POINTS_LISTED} more`)));
}

function paintFlow(canvas, store, { plane, lane }, { flow, points, basins }, style, step, stale) {
  const width = canvas.clientWidth;
  const high = Math.min(FLOW_TALLEST, Math.round(width * 0.85));
  const g = context(canvas, high);
  g.fillStyle = style.background;
  g.fillRect(0, 0, width, high);
  planeFrame(g, width, high, style);
  const window = flow?.window ?? plane.reach;
  const x = (p) => width / 2 + (p[0] / window[0]) * (width / 2 - FLOW_MARGIN);
  const y = (p) => high / 2 - (p[1] / window[1]) * (high / 2 - FLOW_MARGIN);
  if (basins) drawBasins(g, basins, x, y, style, stale("basins"));
  if (flow) drawFlow(g, flow, x, y, width, high, style, stale("flow"));
  const rows = Array.from({ length: store.count }, (_, i) => store.first + i);
  drawPath(g, rows.map((row) => project(store, row, lane, plane)), x, y, style.text, [], step - store.first);
  if (basins && !stale("basins")) drawEnds(g, basins, points, x, y, style);
  for (const [k, point] of byNearness(points?.listed ?? [])) {
    g.globalAlpha = stale("points") ? 0.4 : nearness(point.away, window);
    drawPoint(g, x(point.at), y(point.at), point.kind, k + 1, style, [width, high]);
  }
  g.globalAlpha = 1;
  const here = project(store, step, lane, plane);
  if (!Number.isNaN(here[0])) cross(g, x(here), y(here), style);
}

function drawFlow(g, flow, x, y, width, high, style, stale) {
  const { grid, window, data } = flow;
  const cells = grid * grid;
  let fastest = 0;
  const pixels = (k) => [
    data[2 * k] / window[0] * (width / 2 - FLOW_MARGIN), -data[2 * k + 1] / window[1] * (high / 2 - FLOW_MARGIN)];
  for (let k = 0; k < cells; k++) {
    const size = Math.hypot(...pixels(k));
    if (size > fastest) fastest = size;
  }
  const room = (width - 2 * FLOW_MARGIN) / grid * 1.1;
  g.strokeStyle = g.fillStyle = style.accent;
  for (let k = 0; k < cells; k++) {
    const [dx, dy] = pixels(k);
    const size = Math.hypot(dx, dy);
    if (!(size > 0)) continue;
    const { length, opacity } = arrow(size, fastest, data[3 * cells + k]);
    const at = [0, 1].map((axis) => {
      const i = axis ? Math.floor(k / grid) : k % grid;
      return window[axis] * (2 * i / (grid - 1) - 1);
    });
    g.globalAlpha = opacity * (stale ? 0.5 : 1);
    drawArrow(g, x(at), y(at), dx / size, dy / size, Math.max(3, room * length));
  }
  g.globalAlpha = 1;
  drawShares(g, high, style);
}

/** The legend: how arrows look of which so much of the speed leaves the plane. */
function drawShares(g, high, style) {
  const y = high - 10;
  let x = 8;
  g.font = `11px ${style.font}`;
  g.textBaseline = "middle";
  g.textAlign = "left";
  const parts = [[0, "0"], [0.5, "50"], [0.95, "95 % out of the plane"]];
  const wide = parts.reduce((sum, [, text]) => sum + 30 + g.measureText(text).width, 0);
  g.fillStyle = style.background;
  g.fillRect(2, high - 19, wide + 10, 17);
  for (const [out, text] of parts) {
    g.strokeStyle = style.accent;
    g.globalAlpha = arrow(1, 1, out).opacity;
    drawArrow(g, x + 8, y, 1, 0, 16);
    g.globalAlpha = 1;
    g.fillStyle = style.faint;
    g.fillText(text, x + 20, y);
    x += 30 + g.measureText(text).width;
  }
}

function drawArrow(g, x, y, ux, uy, length) {
  const [ax, ay] = [x + ux * length / 2, y + uy * length / 2];
  const head = Math.min(5, length / 2);
  g.lineWidth = 1.2;
  g.beginPath();
  g.moveTo(x - ux * length / 2, y - uy * length / 2);
  g.lineTo(ax, ay);
  g.moveTo(ax - head * (ux + 0.6 * uy), ay - head * (uy - 0.6 * ux));
  g.lineTo(ax, ay);
  g.lineTo(ax - head * (ux - 0.6 * uy), ay - head * (uy + 0.6 * ux));
  g.stroke();
}

function drawPoint(g, x, y, kind, number, style, [width, high]) {
  if (x < 0 || x > width || y < 0 || y > high) return; // the list has it all the same
  const r = 6;
  g.lineWidth = 2;
  g.strokeStyle = style.text;
  g.fillStyle = style.background;
  g.beginPath();
  if (kind === "marginal" || kind.startsWith("continuum")) {
    g.moveTo(x, y - r - 1);
    g.lineTo(x + r + 1, y);
    g.lineTo(x, y + r + 1);
    g.lineTo(x - r - 1, y);
    g.closePath();
  } else {
    g.arc(x, y, r, 0, 2 * Math.PI);
  }
  g.fill();
  g.stroke();
  g.fillStyle = style.text;
  if (kind === "stable" || kind === "saddle") {
    g.beginPath();
    g.arc(x, y, r, kind === "stable" ? 0 : Math.PI / 2, kind === "stable" ? 2 * Math.PI : 1.5 * Math.PI);
    g.fill();
  }
  g.font = `600 11px ${style.font}`;
  g.textAlign = "left";
  g.textBaseline = "middle";
  g.lineWidth = 3;
  g.strokeStyle = style.background;
  g.strokeText(String(number), x + r + 4, y);
  g.fillText(String(number), x + r + 4, y);
}

function cross(g, x, y, style) {
  for (const [color, wide] of [[style.background, 5], [style.accent, 2.5]]) {
    g.strokeStyle = color;
    g.lineWidth = wide;
    g.beginPath();
    g.moveTo(x - 5, y - 5);
    g.lineTo(x + 5, y + 5);
    g.moveTo(x + 5, y - 5);
    g.lineTo(x - 5, y + 5);
    g.stroke();
  }
}
