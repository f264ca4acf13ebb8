import { readable } from "./colors.js";
import { el, fits, putIn } from "./dom.js";
import { findPanel } from "./find.js";
import { visible } from "./labels.js";
import { chosenUnits } from "./lines.js";
import { laneLimit, mark, unitLabel } from "./stateview.js";

// Beside the state view: the outputs, and the inspector of the selected units.

const LISTED = 10;
const EDITED = "Set by hand after this step: outputs and gates are those from before, the next step goes on from the set state.";
const sign = (text) => text.replaceAll("-", "−");

/** A number in three digits behind the point, or in powers of ten where these do not show it. */
export function shown(v, nothing = "–") {
  if (Number.isNaN(v)) return nothing;
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  return sign(size && (size < 0.001 || size >= 1e5) ? v.toExponential(2) : v.toFixed(3));
}

/** A number of a list whose largest is `limit`, in few digits that still tell it from the others. */
export function fewDigits(v, limit, nothing) {
  if (!Number.isFinite(v) || !Number.isFinite(limit)) return shown(v, nothing);
  if (!v) return "0";
  if (limit < 0.001 || limit >= 1e5) return sign(v.toExponential(1));
  const digits = Math.max(2, 1 - Math.floor(Math.log10(limit)));
  return sign((Number(v.toFixed(digits)) || 0).toFixed(digits));
}

/** What stands for NaN at a row: that it is one, or that there is nothing. */
export const none = (store, row, nothing = "–") => (row > 0 && store.holds(row) ? "NaN" : nothing);

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
    const size = (u) => (Number.isNaN(values[u]) ? -Infinity : values[u]);
    if (lane.units > LISTED) order.sort((a, b) => (size(b) > size(a)) - (size(b) < size(a))).splice(LISTED);
    const most = Math.max(...order.map(size));
    const top = values.filter((v) => v === most).length === 1 ? values.indexOf(most) : -1;
    const limit = lane.limit ?? Math.max(...values.map(Math.abs).filter(Number.isFinite), 1e-12);
    title.textContent = step ? `${lane.caption} after step ${step}` : `${lane.caption}: no step yet`;
    list.className = lane.labels?.some((label) => label.length > 4) ? "rl-words" : "";
    list.replaceChildren(...order.map((u) => {
      const known = !Number.isNaN(values[u]);
      const fill = el("div", { className: "rl-fill" });
      const signed = lane.kind === "signed";
      if (signed) place(fill, values[u], limit);
      else fill.style.width = known ? `${Math.min(100, (100 * values[u]) / limit)}%` : "0";
      const bar = el("div", { className: "rl-value" }, {},
        ...(signed ? [el("div", { className: "rl-zero" })] : []), fill);
      return el("li", { className: known && u === top ? "rl-top" : "" }, {},
        el("span", { title: unitLabel(lane, u) }, {}, unitLabel(lane, u)),
        bar,
        el("span", {}, {}, fewDigits(values[u], limit, none(store, step))));
    }));
  };
  return { element, update };
}

/**
 * The selected units at the step looked at: the value before and after, the gates of the step with
 * what they imply, and for a state a bar to drag and a number to type, which set it and go on from
 * there in a branch.
 */
export function inspectorView(model, link, choose) {
  const title = el("h4");
  const body = el("div");
  const edited = el("p", { className: "rl-faint" });
  const words = el("p", { className: "rl-faint" });
  const find = findPanel(model, link, (span) => choose({ ...model.get("selection"), span }));
  const element = el("div", { className: "rl-inspector" }, {}, title, edited, body, words, find.element);
  let built = "";
  let asked = "";
  let rows = [];

  const change = (action, unit, step, value) => {
    if (Number.isFinite(value)) {
      link.send(action, { step, name: unit.lane.name, unit: unit.unit, value });
    }
  };

  function build(units, step, limits) {
    rows = units.map((unit) => {
      const state = unit.lane.role === "state";
      const limit = limits(unit.lane);
      const name = el("strong", {}, {}, unit.label);
      const moved = el("span");
      const gates = el("div", { className: "rl-gates" });
      const number = el("input", { type: "number", step: "any", ariaLabel: `${unit.label}: set to`,
        title: "Enter sets the unit and goes on from there in a branch" },
        { keydown: (event) => {
          if (event.key !== "Enter") return;
          event.stopPropagation();
          if (fits(number)) change("poke", unit, step, number.valueAsNumber);
        } });
      const was = el("div", { className: "rl-was", title: "the value before the step" });
      const fill = el("div", { className: "rl-fill" });
      const slider = el("input", { type: "range", min: -limit, max: limit, step: limit / 200,
        ariaLabel: `${unit.label}: drag to set` },
        { input: () => {
            number.value = Number(slider.valueAsNumber.toPrecision(4));
            place(fill, slider.valueAsNumber, limit);
          },
          change: () => change("poke", unit, step, slider.valueAsNumber) });
      const bar = el("div", { className: "rl-value" }, {}, el("div", { className: "rl-zero" }), fill, was,
        ...(state ? [slider] : []));
      const hold = el("button", { type: "button", ariaLabel: `${unit.label}: hold`,
        title: `Hold the unit at this value from here on, in a branch${model.get("rows") > 1 ? " (in all rows of the batch)" : ""}` },
        { click: () => { if (fits(number)) change("hold", unit, step, number.valueAsNumber); } }, "Hold");
      const edit = state ? [el("div", { className: "rl-edit" }, {}, number, hold)] : [];
      body.append(el("div", { className: "rl-unit" }, {},
        el("div", { className: "rl-bar" }, {}, name, moved, ...edit), bar, gates));
      return { unit, limit, name, moved, gates, number, slider, hold, fill, was };
    });
  }

  const update = ({ store, lanes, selection, step, style }) => {
    const units = chosenUnits(lanes, selection);
    find.update(lanes, selection);
    title.textContent = units.length
      ? `At step ${step}` : "Click a unit in the picture to inspect it.";
    const key = JSON.stringify([step, store.place.branch, units.map((u) => u.label)]);
    if (key !== built) {
      built = key;
      const active = document.activeElement;
      const [held, kind] = rows.flatMap((row) => ["number", "slider", "hold"].filter((name) => row[name] === active)
        .map((name) => [row, name]))[0] ?? [];
      body.replaceChildren();
      build(units, step, (lane) => laneLimit(lane, store));
      // a value set by the keyboard makes a branch, and so these rows anew: the next key goes on here
      if (held) rows.find(({ unit }) => unit.label === held.unit.label)?.[kind].focus();
    }
    const want = units.length && step > 0 ? `${key} ${store.place.length}` : "";
    if (want && want !== asked && store.holds(step)) {
      asked = want;
      link.send("inspect", { step });
    }
    const told = link.inspected?.step === step && link.inspected.branch === store.place.branch
      ? link.inspected : null;
    const held = told?.held?.length ? `Held in this step: ${told.held.map(visible).join(", ")}.` : "";
    edited.textContent = units.length ? [held, told?.edited ? EDITED : ""].filter(Boolean).join(" ") : "";
    const meanings = new Set();
    for (const { unit, limit, name, moved, gates, number, slider, fill, was } of rows) {
      name.style.borderLeft = `4px solid ${readable(mark(unit.number)[0], style.background)}`;
      const before = store.value(step - 1, unit.column);
      const after = store.value(step, unit.column);
      const stepped = step > 0 && unit.lane.role === "state";
      const [from, to] = [before, after].map((v, k) => shown(v, none(store, step - 1 + k)));
      moved.textContent = [stepped ? `${from} → ${to}` : to,
        told?.bounded?.includes(unit.lane.name) && saturation(after)].filter(Boolean).join(" · ");
      const active = document.activeElement;
      if (active !== number && active !== slider) {
        putIn(number, Number.isFinite(after) ? String(Number(after.toPrecision(4))) : "");
        slider.value = Number.isNaN(after) ? 0 : after;
        place(fill, after, limit);
      }
      was.hidden = !stepped || Number.isNaN(before);
      was.style.left = `${percent(before, limit)}%`;
      const found = gateRows(told, unit);
      listGates(gates, found);
      for (const { name: letter, means } of found) if (means) meanings.add(`${letter}: ${means}`);
    }
    words.textContent = [...meanings].join(" · ");
  };
  return { name: "Inspector", element, update };
}

const percent = (v, limit) => 50 + 50 * Math.max(-1, Math.min(1, (v || 0) / limit));

/** A bar from zero to a value, on a scale from −limit to limit. */
function place(fill, value, limit) {
  const to = percent(value, limit);
  fill.style.left = `${Math.min(50, to)}%`;
  fill.style.width = `${Math.abs(to - 50)}%`;
}

/** In words that a value between −1 and 1 is near an end; "" where it is not. */
const saturation = (v) => (v > 0.9 ? "saturated high" : v < -0.9 ? "saturated low" : "");

/** For a unit of a gated layer its gates as told for the step: name, value, in words what they say. */
export function gateRows(told, unit) {
  if (!told) return [];
  const layer = unit.lane.name.split(".").slice(0, -1).join(".");
  const { kept, ...found } = told.gates[layer] ?? {};
  if (unit.lane.role !== "state") return [];
  const rows = Object.entries(found).map(([name, { values, sigmoid, tanh, means }]) => {
    const value = values[unit.unit] ?? NaN;
    const word = tanh ? saturation(value) : !sigmoid ? "" : value < 0.1 ? "closed" : value > 0.9 ? "open" : "";
    return { name, means, value, sigmoid, word };
  });
  const share = kept?.values[unit.unit];
  if (share > 0 && share < 1) {
    const tau = -1 / Math.log(share);
    const own = unit.lane.name.endsWith(kept.state) ? "" : `of ${kept.state} `;
    rows.push({ name: "", value: share, sigmoid: true, kept: true,
      word: `keeps ${(100 * share).toFixed(share > 0.995 ? 2 : 0)} % ${own}a step: τ ${tau < 100 ? tau.toFixed(1) : tau.toPrecision(2)} steps` });
  }
  return rows;
}

function listGates(box, rows) {
  const key = JSON.stringify(rows);
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.replaceChildren(...rows.flatMap(({ name, means, value, sigmoid, word, kept }) => {
    if (kept) return [el("div", { className: "rl-kept" }, {}, word)];
    const fill = el("div", { className: "rl-fill" });
    if (sigmoid) fill.style.width = `${100 * Math.max(0, Math.min(1, value))}%`;
    else place(fill, value, 1);
    const bar = el("div", { className: "rl-value" }, {}, ...(sigmoid ? [] : [el("div", { className: "rl-zero" })]), fill);
    return [el("span", { title: means ?? "" }, {}, name), bar, el("span", {}, {}, shown(value, "NaN, ∞")), el("span", { className: "rl-word" }, {}, word)];
  }));
}
