import { el } from "./dom.js";
import { Field } from "./field.js";
import { inputPanel } from "./inputs.js";
import { Link } from "./link.js";
import { chosenUnits, drawLines } from "./lines.js";
import { bindPointer, selectUnit } from "./pointer.js";
import { compareView } from "./compare.js";
import { dynamicsView } from "./dynamics.js";
import { memoryView } from "./memory.js";
import { spanText } from "./find.js";
import { inspectorView, lookedAt, none, outputsView, shown } from "./sidebar.js";
import { shortName, visible } from "./labels.js";
import { FOLLOW, WHOLE, branchSign, draw, format, layout, unitLabel } from "./stateview.js";
import { tabStrip } from "./tabs.js";
import { levelFor } from "./tiles.js";
import { tokensView } from "./tokens.js";
import { trajectoryView } from "./trajectory.js";
import { transportBar } from "./transport.js";

// The explorer: one view of it. All views of a model share one Link; the kernel decides everything.

const FRAME = 16; // ms

function render(link, model, root) {
  const { store } = link;
  root.classList.add("rnnlab");
  root.dataset.lmSuppressShortcuts = "true";

  const selection = () => model.get("selection");
  const choose = (chosen) => { model.set("selection", chosen); model.save_changes(); later(); };
  const state = { at: null, view: FOLLOW, hover: null };
  const field = new Field();
  const ghostFields = [];

  const transport = transportBar(model, link);
  const panel = inputPanel(model, link);
  const error = el("div", { className: "rl-error", role: "alert", hidden: true });
  const notice = el("div", { className: "rl-notice", role: "status", hidden: true });
  const canvas = el("canvas", { tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "state view");
  const readout = el("div", { className: "rl-readout" });
  const lines = el("canvas", { hidden: true });
  lines.setAttribute("role", "img");
  const order = el("select", { ariaLabel: "Order of units" }, {
    change: () => link.send("order", { by: order.value }),
  }, ...model.get("sorts").map((by) => el("option", { value: by }, {}, `by ${by}`)));
  const follow = el("button", { type: "button", title: "Follow the newest step (key End)" },
    { click: () => { state.view = FOLLOW; later(); } }, "Follow");
  const whole = el("button", { type: "button", title: "Show the whole recording (key 0)" },
    { click: () => { state.view = WHOLE; later(); } }, "Whole");
  const span = el("button", { type: "button", hidden: true, title: "Clear the span (key Escape)" },
    { click: () => choose({ ...selection(), span: null }) });
  const odd = el("span", { className: "rl-odd", hidden: true }, {}, "not finite (NaN, ∞)");
  const batch = el("select", { ariaLabel: "Row of the batch" }, {
    change: () => { model.set("row", Number(batch.value)); model.save_changes(); },
  });
  const batchLabel = el("label", { hidden: true }, {}, "Row of the batch", batch);
  const text = tokensView(link, model, { choose, later });
  const outputs = outputsView();
  const tabs = tabStrip([
    inspectorView(model, link, choose),
    trajectoryView(model, link),
    compareView(model, link, (name, unit) => choose(selectUnit(selection(), name, unit, true))),
    memoryView(model, link, (step) => choose({ ...selection(), step })),
    dynamicsView(model, link),
  ], "Views of the state", (from) => { from.leave?.(); later(); });
  const strips = tabs.all.flatMap((tab) => tab.strip ?? []);
  root.append(transport.element, panel.element, error, notice,
    el("div", { className: "rl-stage" }, {},
      el("div", { className: "rl-view" }, {},
        el("div", { className: "rl-bar rl-tools" }, {},
          el("label", {}, {}, "Units", order), follow, whole, span, batchLabel, odd),
        canvas, readout, lines, text.element, ...strips),
      el("div", { className: "rl-side" }, {}, outputs.element, tabs.element)));

  // pictures first, then what changes the document: a width asked for in between costs a layout
  let frame = 0;
  let painted = 0;
  function later() { frame ||= requestAnimationFrame(paint); }
  // a step that comes between two frames is in the pixels when the next one begins, not after it
  function soon(now) {
    if (now && !document.hidden && performance.now() - painted > FRAME) paint();
    else later();
  }

  function paint() {
    cancelAnimationFrame(frame);
    frame = 0;
    painted = performance.now();
    if (!canvas.clientWidth) return;
    const { place } = store;
    const lanes = ordered(model.get("lanes"), model.get("orders"));
    const said = `step ${place.t} of ${place.length} · branch ${shortName(place.branch)}`;
    if (lanes.length && store.count) {
      const style = styleOf(root);
      const chosen = selection();
      const step = lookedAt(store, chosen);
      state.at = layout(lanes, place, canvas.clientWidth, state.view);
      state.at.labels = link.labels;
      const level = levelFor(state.at.column, store.width);
      store.want(state.at, level, [step - 1, step, ...text.rows(place)], link.plane !== null);
      field.fill(store, state.at);
      odd.hidden = !draw(canvas, store, field, style, { hover: state.hover, selection: chosen });
      const beside = model.get("compared").filter((name) => name !== place.branch);
      const others = link.compared().map(([name, other]) => [name, other, branchSign(beside.indexOf(name))]);
      for (const [, other] of others) {
        other.want({ ...state.at, rows: other.place.length + 1 }, level, [step]);
      }
      const units = chosenUnits(lanes, chosen);
      const ghosts = (units.length ? others : []).map(([name, other, sign], k) =>
        ({ name, sign, field: (ghostFields[k] ??= new Field()).fill(other, state.at) }));
      drawLines(lines, store, field, style, chosen, ghosts);
      lines.ariaLabel = `Over time: ${units.map((unit) => unit.label).join(", ")}`
        + (ghosts.length ? `; behind, thin: ${ghosts.map(({ name }) => shortName(name)).join(", ")}` : "");
      text.update(store, state.at.lanes, style, step);
      outputs.update(store, lanes.find((l) => l.role === "output"), step);
      tabs.shown.update({ store, at: state.at, lanes: state.at.lanes, place, style, selection: chosen,
        step, others });
      canvas.ariaLabel = `State view: ${lanes.map((l) => `${l.title}, ${l.units} units`).join("; ")}. `
        + `Now at ${said}. Arrow keys move over the cells, Enter selects a unit at a step.`;
      readout.textContent = state.hover
        ? readoutText(state.hover, lanes, store, field, link.labels.at(state.hover.row))
        : "Point at a cell to read it; click to select its unit, drag to pan, click and turn the wheel to zoom.";
    }
    transport.update(said);
    panel.update(place);
    const wrong = link.lost ?? model.get("error");
    show(error, wrong);
    root.classList.toggle("rl-lost", Boolean(link.lost));
    show(notice, model.get("notice"));
    order.value = model.get("ordered_by");
    follow.disabled = state.view === FOLLOW;
    span.hidden = !selection().span;
    span.textContent = selection().span ? `Span: ${spanText(selection().span)} ✕` : "";
    listRows(batch, batchLabel, model.get("rows"), model.get("row"));
    root.dataset.t = place.t;
    root.dataset.length = place.length;
    root.dataset.rows = store.count;
    if (state.at) root.dataset.window = `${state.at.first}:${state.at.last}`;
    root.dataset.waiting = store.tiles.waiting;
    root.dataset.drawn = Number(root.dataset.drawn ?? 0) + 1;
  }

  bindPointer(canvas, state, {
    selection, choose, later,
    place: () => store.place,
    goTo: (row) => link.send("rewind", { step: row }),
  });
  root.addEventListener("keydown", (event) => transport.key(event));

  link.views.add(soon);
  model.on("change", later);
  const resized = new ResizeObserver(later);
  for (const node of [root, canvas]) resized.observe(node);
  const themed = new MutationObserver(later);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", later);
  if (!store.count) link.ask();
  later();
  return () => {
    cancelAnimationFrame(frame);
    link.views.delete(soon);
    model.off("change", later);
    resized.disconnect();
    themed.disconnect();
    scheme.removeEventListener("change", later);
    panel.close();
    text.close();
    transport.close();
    tabs.shown.leave?.();
  };
}

/** Lanes with the order in which their units are drawn. */
export const ordered = (lanes, orders) => lanes.map((lane) => ({ ...lane, order: orders?.[lane.name] }));

function show(box, text) {
  box.hidden = !text;
  if (box.textContent !== text) box.textContent = text ?? "";
}

/** The rows of a batch to choose from, where there is a batch. */
function listRows(select, label, rows, row) {
  label.hidden = rows < 2;
  if (select.options.length !== rows) {
    select.replaceChildren(...Array.from({ length: rows }, (_, k) => el("option", { value: k }, {}, k + 1)));
  }
  select.value = String(row);
}

function readoutText(hover, lanes, store, field, label) {
  const lane = lanes.find((l) => l.name === hover.lane);
  if (!lane) return "";
  const unit = `${lane.title}[${unitLabel(lane, hover.unit)}]`;
  const value = store.value(hover.row, lane.from + hover.unit);
  if (!store.holds(hover.row) && !field.exact) {
    const c = field.columnOf(hover.row);
    const [low, high] = field.ends(c, lane.from + hover.unit);
    const sign = field.odd(c, lane.from + hover.unit);
    const known = Number.isNaN(low) ? sign ? "NaN" : "on its way"
      : `${format(low)} … ${format(high)}${sign === "×" ? ", and NaN" : ""}`;
    return `steps ${field.rowOf(c)} – ${field.rowOf(c + 1) - 1} · ${unit} = ${known}`;
  }
  const known = Number.isFinite(value) ? String(Number(value.toPrecision(7))) : shown(value, none(store, hover.row, hover.row ? "on its way" : "nothing yet"));
  const read = label === null ? "" : ` “${visible(label)}”`;
  return `step ${hover.row}${read} · ${unit} = ${known.replace("-", "−")}`;
}

/** Colours and font of the host page, and whether they are dark. */
function styleOf(root) {
  const css = getComputedStyle(root);
  const get = (name) => css.getPropertyValue(name).trim();
  const [r, g, b] = (css.backgroundColor.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
  const dark = 0.299 * r + 0.587 * g + 0.114 * b < 128;
  return {
    theme: dark ? "dark" : "light",
    background: css.backgroundColor,
    text: get("--rl-text"),
    faint: get("--rl-faint"),
    line: get("--rl-line"),
    accent: get("--rl-accent"),
    onAccent: dark ? "#101214" : "#ffffff",
    empty: dark ? "rgba(255, 255, 255, 0.03)" : "rgba(0, 0, 0, 0.03)",
    veil: dark ? "rgba(22, 24, 27, 0.55)" : "rgba(255, 255, 255, 0.6)",
    span: dark ? "rgba(108, 180, 255, 0.18)" : "rgba(21, 101, 192, 0.12)",
    font: css.fontFamily,
  };
}

// called once a model: the Link is what its views have in common
export default () => {
  const link = new Link();
  return {
    initialize: ({ model }) => link.open(model),
    render: ({ model, el: root }) => render(link, model, root),
  };
};
