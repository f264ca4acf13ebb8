import { Store, floats } from "./store.js";
import { draw, locate, unitLabel } from "./stateview.js";
import { el } from "./dom.js";
import { inputPanel } from "./inputs.js";

// The explorer. `initialize` runs once a model: it keeps the store and talks with the kernel.
// `render` runs once a view: it draws what the store holds. The kernel decides everything.

const NOT_ANSWERED = "The kernel does not answer. If it was restarted, run the cell again.";

function initialize(shared, model) {
  const changed = () => shared.views.forEach((view) => view());

  shared.send = (action, detail = {}) => {
    const id = shared.next++;
    shared.waiting.set(id, setTimeout(() => {
      shared.waiting.delete(id);
      shared.lost = NOT_ANSWERED;
      changed();
    }, 20000));
    try {
      model.send({ id, action, ...detail });
    } catch (error) {
      clearTimeout(shared.waiting.get(id));
      shared.lost = NOT_ANSWERED;
      changed();
    }
  };
  shared.ask = () => {
    if (performance.now() - shared.asked < 250) return;
    shared.asked = performance.now();
    shared.send("snapshot");
  };

  const onMessage = (message, buffers) => {
    shared.lost = null;
    if (message.kind === "answer") {
      clearTimeout(shared.waiting.get(message.id));
      shared.waiting.delete(message.id);
    } else if (message.kind === "rows" && !shared.store.receive(message, floats(buffers))) {
      shared.ask();
    }
    changed();
  };
  model.on("msg:custom", onMessage);
  shared.ask();
  return () => {
    model.off("msg:custom", onMessage);
    shared.waiting.forEach(clearTimeout);
    shared.views.clear();
  };
}

function render(shared, model, root) {
  const { store, send } = shared;
  root.classList.add("rnnlab");
  root.dataset.lmSuppressShortcuts = "true";

  const button = (name, key, action, more = {}) =>
    el("button", { type: "button", title: `${name} (key ${key})`, ariaKeyShortcuts: key, ...more },
      { click: action }, name);
  const count = el("input", {
    type: "number", min: 1, max: 100000, value: 10, ariaLabel: "Number of steps to run",
  });
  const stepsToRun = () => Math.max(1, Math.round(Number(count.value)) || 1);
  const controls = {
    Reset: button("Reset", "R", () => send("reset")),
    Back: button("Back", "B", () => send("back")),
    Forward: button("Forward", "F", () => send("forward")),
    Step: button("Step", "S", () => send("step"), { className: "rl-main" }),
    Run: button("Run", "N", () => send("run", { steps: stepsToRun() })),
    Play: button("Play", "P", () => send(model.get("playing") ? "pause" : "play")),
  };
  const speed = el("select", { ariaLabel: "Steps per second" }, {
    change: () => { model.set("speed", Number(speed.value)); model.save_changes(); },
  }, ...[1, 2, 5, 10, 30].map((s) => el("option", { value: s }, {}, `${s} / s`)));
  const status = el("span", { className: "rl-status", role: "status", ariaLive: "polite" });
  const { Reset, Back, Forward, Step, Run, Play } = controls;
  const transport = el("div", { className: "rl-bar", role: "toolbar", ariaLabel: "Transport" }, {},
    Reset, Back, Forward, Step, el("span", { className: "rl-group" }, {}, Run, count, "steps"),
    Play, speed, status);

  const panel = inputPanel(model, shared);
  const error = el("div", { className: "rl-error", role: "alert", hidden: true });
  const canvas = el("canvas", { tabIndex: 0 });
  canvas.setAttribute("role", "img");
  const readout = el("div", { className: "rl-readout" });
  const outputs = el("div", { className: "rl-outputs" });
  root.append(transport, panel.element, error,
    el("div", { className: "rl-stage" }, {},
      el("div", { className: "rl-view" }, {}, canvas, readout), outputs));

  let placed = null;
  let hover = null;
  let frame = 0;
  const later = () => { frame ||= requestAnimationFrame(paint); };

  function paint() {
    frame = 0;
    if (!root.isConnected && !canvas.clientWidth) return;
    const { place } = store;
    const lanes = model.get("lanes");
    const playing = model.get("playing");
    const feed = model.get("feed");
    const empty = feed.kind === "queue" && place.position !== null && place.position >= feed.count;
    Reset.disabled = false;
    Back.disabled = place.t === 0;
    Forward.disabled = place.t >= place.length;
    Step.disabled = Run.disabled = empty;
    Play.disabled = empty && !playing;
    Play.textContent = playing ? "Pause" : "Play";
    Play.title = `${playing ? "Pause" : "Play"} (key P)`;
    speed.value = String(model.get("speed"));
    const said = `step ${place.t} of ${place.length} · branch ${place.branch}`;
    if (status.textContent !== said) status.textContent = said;
    const wrong = shared.lost ?? model.get("error");
    error.hidden = !wrong;
    if (error.textContent !== wrong) error.textContent = wrong;
    panel.update(place);
    if (lanes.length && store.count && canvas.clientWidth) {
      placed = draw(canvas, store, lanes, styleOf(root), hover);
      canvas.ariaLabel =
        `Hidden state over time: ${lanes.map((l) => `${l.title}, ${l.units} units`).join("; ")}. `
        + `Now at ${said}.`;
      showOutputs(outputs, store, lanes.find((l) => l.role === "output"));
      readout.textContent = hover ? readoutText(hover, placed, store) : "Point at a cell to read it.";
    }
    root.dataset.t = place.t;
    root.dataset.length = place.length;
    root.dataset.rows = store.count;
    root.dataset.drawn = Number(root.dataset.drawn ?? 0) + 1;
  }

  canvas.addEventListener("pointermove", (event) => {
    const found = placed && locate(placed, event.offsetX, event.offsetY);
    hover = found && { lane: found.lane.name, unit: found.unit, row: found.row };
    later();
  });
  canvas.addEventListener("pointerleave", () => { hover = null; later(); });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!move[event.key] || !placed) return;
    event.preventDefault();
    hover = moved(hover, move[event.key], placed, store);
    later();
  });

  const keys = { r: Reset, b: Back, f: Forward, s: Step, n: Run, p: Play };
  root.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    const pressed = keys[event.key.toLowerCase()];
    if (!pressed || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (!pressed.disabled) pressed.click();
  });

  shared.views.add(later);
  model.on("change", later);
  const resized = new ResizeObserver(later);
  resized.observe(root);
  const themed = new MutationObserver(later);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", later);
  if (!store.count) shared.ask();
  later();
  return () => {
    cancelAnimationFrame(frame);
    shared.views.delete(later);
    model.off("change", later);
    resized.disconnect();
    themed.disconnect();
    scheme.removeEventListener("change", later);
    panel.close();
  };
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
    font: css.fontFamily,
  };
}

function moved(hover, [columns, units], placed, store) {
  const lanes = placed.lanes;
  if (!hover) return { lane: lanes[0].name, unit: 0, row: store.place.t };
  let k = Math.max(0, lanes.findIndex((l) => l.name === hover.lane));
  let unit = hover.unit + units;
  if (unit < 0 && k > 0) { k -= 1; unit = lanes[k].units - 1; }
  if (unit >= lanes[k].units && k < lanes.length - 1) { k += 1; unit = 0; }
  return {
    lane: lanes[k].name,
    unit: Math.max(0, Math.min(lanes[k].units - 1, unit)),
    row: Math.max(placed.first, Math.min(placed.last - 1, hover.row + columns)),
  };
}

function readoutText(hover, placed, store) {
  const lane = placed.lanes.find((l) => l.name === hover.lane);
  if (!lane) return "";
  const value = store.value(hover.row, lane.from + hover.unit);
  const shown = Number.isNaN(value) ? "nothing yet" : String(Number(value.toPrecision(7)));
  const name = unitLabel(lane, hover.unit);
  return `step ${hover.row} · ${lane.title}[${name}] = ${shown.replace("-", "−")}`;
}

const LISTED = 10;

/** The outputs at the place, as bars: all of up to ten, else the ten largest. */
function showOutputs(box, store, lane) {
  if (!lane) return;
  const { t } = store.place;
  const values = Array.from({ length: lane.units }, (_, u) => store.value(t, lane.from + u));
  const order = values.map((_, u) => u);
  if (lane.units > LISTED) order.sort((a, b) => values[b] - values[a]).splice(LISTED);
  const top = values.indexOf(Math.max(...values));
  const limit = lane.limit ?? Math.max(...values.map(Math.abs), 1e-12);
  const rows = order.map((u) => {
    const known = !Number.isNaN(values[u]);
    const bar = el("div");
    bar.style.width = known ? `${Math.min(100, (100 * Math.abs(values[u])) / limit)}%` : "0";
    return el("li", { className: known && u === top ? "rl-top" : "" }, {},
      el("span", {}, {}, unitLabel(lane, u)),
      el("div", { className: "rl-track" }, {}, bar),
      el("span", {}, {}, known ? values[u].toFixed(2).replace("-", "−") : "–"));
  });
  box.replaceChildren(
    el("h4", {}, {}, t ? `${lane.caption} after step ${t}` : `${lane.caption}: no step yet`),
    el("ol", {}, {}, ...rows));
}

// called once a model: `shared` is what its views have in common
export default () => {
  const shared = {
    store: new Store(), views: new Set(), waiting: new Map(), asked: -1000, next: 1, lost: null,
  };
  return {
    initialize: ({ model }) => initialize(shared, model),
    render: ({ model, el: root }) => render(shared, model, root),
  };
};
