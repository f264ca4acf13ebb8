import { el } from "./dom.js";
import { mark, unitLabel } from "./stateview.js";
import { chosenUnits } from "./lines.js";

// Beside the state view: the outputs, and the inspector of the selected units.

const LISTED = 10;
const sign = (text) => text.replace("-", "−");
export const shown = (v, digits = 3) => (Number.isNaN(v) ? "–" : sign(v.toFixed(digits)));

/** The step that is looked at: the one clicked, else the session's place. */
export const lookedAt = (store, selection) => {
  const step = selection.step ?? null;
  return step === null || step > store.place.length ? store.place.t : step;
};

/** The outputs of a step, as bars: all of up to ten, else the ten largest. */
export function outputsView() {
  const title = el("h4");
  const list = el("ol");
  const element = el("div", { className: "rl-outputs" }, {}, title, list);
  const update = (store, lane, step) => {
    element.hidden = !lane;
    if (!lane) return;
    const values = Array.from({ length: lane.units }, (_, u) => store.value(step, lane.from + u));
    const order = values.map((_, u) => u);
    if (lane.units > LISTED) order.sort((a, b) => values[b] - values[a]).splice(LISTED);
    const top = values.indexOf(Math.max(...values));
    const limit = lane.limit ?? Math.max(...values.map(Math.abs), 1e-12);
    title.textContent = step ? `${lane.caption} after step ${step}` : `${lane.caption}: no step yet`;
    list.replaceChildren(...order.map((u) => {
      const known = !Number.isNaN(values[u]);
      const bar = el("div");
      bar.style.width = known ? `${Math.min(100, (100 * Math.abs(values[u])) / limit)}%` : "0";
      return el("li", { className: known && u === top ? "rl-top" : "" }, {},
        el("span", {}, {}, unitLabel(lane, u)),
        el("div", { className: "rl-track" }, {}, bar),
        el("span", {}, {}, shown(values[u], 2)));
    }));
  };
  return { element, update };
}

/**
 * The selected units at the step looked at: the value before and after, the gates of the step,
 * and for a state a slider and a number that set it and go on from there in a branch.
 */
export function inspectorView(link) {
  const title = el("h4");
  const body = el("div");
  const element = el("section", { className: "rl-inspector", ariaLabel: "Inspector" }, {},
    title, body);
  let built = "";
  let asked = "";
  let rows = [];

  const poke = (unit, step, value) => {
    if (Number.isFinite(value)) {
      link.send("poke", { step, name: unit.lane.name, unit: unit.unit, value });
    }
  };

  function build(units, step, limits) {
    rows = units.map((unit) => {
      const state = unit.lane.role === "state";
      const limit = limits(unit.lane);
      const name = el("strong", {}, {}, unit.label);
      name.style.borderLeft = `4px solid ${mark(unit.number)[0]}`;
      const change = el("span");
      const gates = el("div", { className: "rl-faint" });
      const number = el("input", { type: "number", step: "any", ariaLabel: `${unit.label}: set to` },
        { keydown: (event) => {
          if (event.key !== "Enter") return;
          event.stopPropagation();
          poke(unit, step, number.valueAsNumber);
        } });
      number.title = "Enter sets the unit and goes on from there in a branch";
      const slider = el("input", { type: "range", min: -limit, max: limit, step: limit / 200,
        ariaLabel: `${unit.label}: drag to set` },
        { input: () => { number.value = slider.value; },
          change: () => poke(unit, step, slider.valueAsNumber) });
      const edit = state ? [el("div", { className: "rl-edit" }, {}, slider, number)] : [];
      body.append(el("div", { className: "rl-unit" }, {},
        el("div", {}, {}, name, " ", change), gates, ...edit));
      return { unit, change, gates, number, slider };
    });
  }

  const update = (store, lanes, selection, limits) => {
    const units = chosenUnits(lanes, selection);
    const step = lookedAt(store, selection);
    element.hidden = !lanes.length;
    title.textContent = units.length
      ? `At step ${step}` : "Click a unit in the picture to inspect it.";
    const key = JSON.stringify([step, store.place.branch, units.map((u) => u.label)]);
    if (key !== built) {
      built = key;
      body.replaceChildren();
      build(units, step, limits);
    }
    const want = units.length && step > 0 ? `${key} ${store.place.length}` : "";
    if (want && want !== asked && !Number.isNaN(store.value(step, units[0].column))) {
      asked = want;
      link.send("inspect", { step });
    }
    for (const { unit, change, gates, number, slider } of rows) {
      const before = store.value(step - 1, unit.column);
      const after = store.value(step, unit.column);
      change.textContent = step > 0 && unit.lane.role === "state"
        ? `${shown(before)} → ${shown(after)}` : shown(after);
      if (document.activeElement !== number) number.value = Number.isNaN(after) ? "" : Number(after.toPrecision(6));
      if (document.activeElement !== slider) slider.value = Number.isNaN(after) ? 0 : after;
      gates.textContent = gateText(link.inspected, unit, step, store.place.branch);
    }
  };
  return { element, update };
}

/** "i 0.912 · f 0.034 (closed) · …" for a unit of a gated layer; "" where nothing is known. */
export function gateText(inspected, unit, step, branch) {
  if (!inspected || inspected.step !== step || inspected.branch !== branch) return "";
  const layer = unit.lane.name.split(".").slice(0, -1).join(".");
  const found = inspected.gates[layer];
  if (!found || unit.lane.role !== "state") return "";
  return Object.entries(found).map(([gate, { values, sigmoid }]) => {
    const v = values[unit.unit];
    const closed = sigmoid && v < 0.1 ? " (closed)" : "";
    const open = sigmoid && v > 0.9 ? " (open)" : "";
    const memory = gate === "f" && v > 0 && v < 1 ? `, τ ${(-1 / Math.log(v)).toFixed(1)} steps` : "";
    return `${gate} ${shown(v)}${closed}${open}${memory}`;
  }).join(" · ");
}
