import { colorIndex, colorTable, swatch } from "./colors.js";
import { el, takeOnEnter } from "./dom.js";
import { visible } from "./labels.js";
import { none } from "./sidebar.js";
import { laneLimit } from "./stateview.js";
import { BUCKETS } from "./tiles.js";

// The text of the branch, each token coloured by one unit at the step that read it.

const SHOWN = 400;
const SETTLED = 150; // milliseconds without a new step after which gates are asked for

const layerOf = (name) => name.split(".").slice(0, -1).join(".");
const last = (name) => name.split(".").at(-1);

/** The steps whose tokens are shown: all, or of a long text a stretch around the place. */
export function shownSteps(place) {
  const start = Math.max(1, Math.min(place.t - SHOWN / 2, place.length - SHOWN + 1));
  return [start, Math.min(place.length, start + SHOWN - 1)];
}

/** What can colour the tokens: the states and the gates of the layer of the selected unit. */
export function signals(lanes, gates, selection) {
  const states = lanes.filter((lane) => lane.role === "state");
  const chosen = (selection.units ?? []).map(([name, unit]) =>
    ({ lane: states.find((lane) => lane.name === name), unit })).find(({ lane }) => lane);
  const lane = chosen?.lane ?? states[0];
  if (!lane) return null;
  const layer = layerOf(lane.name);
  return {
    own: lane.name,
    unit: chosen?.unit ?? 0,
    units: lane.units,
    names: [...states.map(({ name }) => name), ...gates].filter((name) => layerOf(name) === layer),
  };
}

export function tokensView(link, model, { choose, later }) {
  const signal = el("select", { ariaLabel: "Tokens coloured by" }, {
    change: () => { picked = last(signal.value); later(); },
  });
  const unit = el("input", { type: "number", min: 0, step: 1, ariaLabel: "Unit that colours the tokens" }, {
    change: () => {
      const k = Math.round(unit.valueAsNumber);
      if (k >= 0 && k < found.units) {
        choose({ ...model.get("selection"), units: [[found.own, k]] });
      }
    },
  });
  const told = el("span", { className: "rl-faint", role: "status" });
  const list = el("div", { className: "rl-text", role: "group", ariaLabel: "The text, token by token" }, {
    click: ({ target }) => {
      const row = Number(target.closest("button")?.dataset.row);
      if (row) choose({ ...model.get("selection"), step: row });
    },
    focusin: ({ target }) => { told.textContent = target.title; },
    pointerover: ({ target }) => { if (target.title) told.textContent = target.title; },
    keydown: (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const at = buttons.indexOf(event.target);
      if (!by || at < 0) return;
      event.preventDefault();
      const to = buttons[at + by];
      if (!to || to.hidden) return;
      for (const button of buttons) button.tabIndex = button === to ? 0 : -1;
      to.focus();
    },
  });
  const element = el("section", { className: "rl-tokenview", ariaLabel: "Text", hidden: true }, {},
    el("div", { className: "rl-bar" }, {}, el("label", {}, {}, "Tokens by", signal),
      el("label", {}, {}, "of unit", unit), told), list);
  takeOnEnter(element);
  const buttons = [];
  let picked = null;
  let found = null;
  let drawn = "";
  let asked = "";
  let timer = 0;

  /** Ask for the gates of the whole branch once it has come to rest. */
  const ask = (name, place) => {
    const want = JSON.stringify([name, found.unit, place.branch, place.length, model.get("row")]);
    if (want === asked) return;
    asked = want;
    clearTimeout(timer);
    const send = () => {
      if (model.get("playing") || model.get("running")) timer = setTimeout(send, SETTLED);
      else link.send("signal", { name, unit: found.unit });
    };
    const { unit: which } = found;
    timer = setTimeout(() => (found.unit === which ? send() : 0), SETTLED);
  };

  const fill = (start, stop) => {
    for (let k = 0; k <= stop - start; k++) {
      const text = visible(link.labels.at(start + k) ?? "·");
      buttons[k] ??= list.appendChild(el("button", { type: "button" }));
      if (buttons[k].textContent !== text) buttons[k].textContent = text;
      buttons[k].hidden = false;
    }
    for (let k = Math.max(0, stop - start + 1); k < buttons.length; k++) buttons[k].hidden = true;
  };

  const update = (store, lanes, style, step) => {
    const { place } = store;
    const gates = model.get("recorded") ? [] : model.get("gates");
    found = signals(lanes, gates, model.get("selection"));
    element.hidden = !found || !link.labels.some || !model.get("words").length;
    if (element.hidden) return;
    const name = found.names.find((n) => last(n) === picked) ?? found.own;
    const lane = lanes.find((l) => l.name === name);
    if (!lane) ask(name, place);
    const known = link.signal;
    const fits = known && known.name === name && known.unit === found.unit
      && known.branch === place.branch;
    const key = JSON.stringify([store.seq, store.tiles.held.size, place, name, found.unit, step, style.theme,
      model.get("row"), lane ? 0 : fits && known.number]);
    if (key === drawn) return;
    drawn = key;
    if (signal.dataset.key !== found.names.join()) {
      signal.dataset.key = found.names.join();
      signal.replaceChildren(...found.names.map((n) => el("option", { value: n }, {},
        gates.includes(n) ? `gate ${n}` : n)));
    }
    signal.value = name;
    unit.max = found.units - 1;
    if (document.activeElement !== unit || unit.valueAsNumber > unit.max) unit.value = found.unit;
    const kind = !lane && fits && known.sigmoid ? "share" : "signed";
    const limit = lane ? laneLimit(lane, store) : 1;
    const table = colorTable(style.theme, kind);
    const valueAt = (row) => (lane ? store.value(row, lane.from + found.unit)
      : (fits ? known.values[row - known.start] : undefined) ?? NaN);
    const [start, stop] = shownSteps(place);
    fill(start, stop);
    const current = Math.min(stop, Math.max(start, step));
    for (let row = start; row <= stop; row++) {
      const button = buttons[row - start];
      const v = valueAt(row);
      const index = colorIndex(v, kind, limit);
      const value = index < 0 ? (lane ? none(store, row, "not known") : "not known") : String(Number(v.toPrecision(4))).replace("-", "−");
      const paint = index < 0 ? { background: "", color: "" } : swatch(table, index);
      Object.assign(button.style, paint);
      button.dataset.row = row;
      button.title = `step ${row} · ${name}[${found.unit}] = ${value}`;
      button.ariaLabel = `${button.textContent}, ${button.title}`;
      button.tabIndex = row === current ? 0 : -1;
      button.ariaPressed = String(row === step);
      button.classList.toggle("rl-ahead", row > place.t);
    }
  };
  /** Rows such that the tiles they lie in have all that is shown. */
  const rows = (place) => {
    if (element.hidden) return [];
    const [start, stop] = shownSteps(place);
    return Array.from({ length: Math.ceil((stop - start) / BUCKETS) }, (_, k) => start + k * BUCKETS)
      .concat(stop);
  };
  return { element, rows, update, close: () => clearTimeout(timer) };
}
