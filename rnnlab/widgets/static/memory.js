import { shortened, visible } from "./labels.js";
import { el } from "./dom.js";
import { mark, context, unitLabel } from "./stateview.js";
import { chosenUnits } from "./lines.js";
import { busy, current } from "./work.js";

// On which past inputs an output, a unit or the whole state still depends: bars on the time axis of
// the state view, on an absolute logarithmic scale, so that "almost nothing" and "nothing" differ.

const BARS_HIGH = 130;
const BARS_TOP = 12;
const BARS_BOTTOM = 22;
const DECADES = 8;
const STRONGEST = 5;
const OUTPUTS = 12;

const METHODS = [["gradient", "gradient"], ["integrated", "integrated gradients"],
  ["input_x_gradient", "input × gradient"], ["written", "exact split of the value"]];

const CONTRIBUTIONS = ["integrated", "input_x_gradient", "written"];

/** Top and bottom of a logarithmic axis for these magnitudes, as powers of ten; null without any. */
export function decades(values) {
  let most = 0;
  let least = Infinity;
  for (const v of values) {
    const size = Math.abs(v);
    if (size > most && size < Infinity) most = size;
    if (size > 0 && size < least) least = size;
  }
  if (!most) return null;
  const top = Math.ceil(Math.log10(most) - 1e-9) + 0; // + 0: no −0
  const bottom = Math.min(top - 1, Math.floor(Math.log10(least) + 1e-9));
  return [Math.max(bottom, top - DECADES), top];
}

/** How high a bar is, 0 to 1, and whether it is cut off at the bottom of the axis. */
export function barHeight(value, axis, log) {
  const size = Math.abs(value);
  if (!size || !axis) return [0, false];
  if (!log) return [size / axis[1], false];
  const share = (Math.log10(size) - axis[0]) / (axis[1] - axis[0]);
  return share < 0.02 ? [0.02, share < 0] : [share, false];
}

/** The horizon and the e-folding time in words. */
export function fadingText({ steps, horizon, reached, e_folding: tau, endless }) {
  const count = (n) => `${n} ${n === 1 ? "step" : "steps"}`;
  const least = `after ${count(horizon)} less than 1 % is left of what an input does to the state`;
  const far = reached ? `On average ${least}`
    : `On average more than 1 % of what an input does to the state is left even after ${count(steps)}: the memory is at least that long`;
  if (endless) return `${far}; it does not fade.`;
  if (tau === null) return `${far}.`;
  if (tau === 0) return `${far}; nothing is left of it later.`;
  return `${far}; later it falls by the factor e in ${tau < 10 ? tau.toFixed(1) : Math.round(tau)} steps.`;
}

/** How the bars of an exact split add up, in words. */
export function splitText(values) {
  if (values?.method !== "written") return "";
  const rest = values.before ? `, and ${brief(values.before)} left from before step ${values.start + 1}` : "";
  return ` The bars${rest} add up to ${brief(values.value)}: what each step wrote, as much of it as the gates have kept.`;
}

const power = (k) => (k >= -2 && k <= 3 ? String(10 ** k) : `1e${k}`).replace("-", "−");
const brief = (v) => (Math.abs(v) >= 0.01 && Math.abs(v) < 1e4 ? v.toPrecision(3) : v.toExponential(1))
  .replace(/-/g, "−");

/** The word of a step, blanks and the like made visible, where the input has one unit a word and exactly one is on. */
export function inputWord(store, lanes, row) {
  const lane = lanes.find((l) => l.role === "input");
  if (!lane?.labels || lane.units < 2) return "";
  let word = "";
  for (let u = 0; u < lane.units; u++) {
    const v = store.value(row, lane.from + u);
    if (v !== 0 && v !== 1) return "";
    if (v === 1 && word) return "";
    if (v === 1) word = visible(lane.labels[u]);
  }
  return word;
}

/** The word that a step read: its label, or what its input says. */
const wordOf = (at, store, lanes, row) => {
  const label = at.labels?.at(row) ?? null;
  return label === null ? inputWord(store, lanes, row) : visible(label);
};

export function memoryView(model, link, choose) {
  const target = el("select", { ariaLabel: "Dependence of" }, { change: () => link.changed() });
  const method = el("select", { ariaLabel: "Method" }, { change: () => link.changed() },
    ...METHODS.map(([value, name]) => el("option", { value }, {}, name)));
  const scale = el("select", { ariaLabel: "Scale of the bars" }, { change: () => link.changed() },
    el("option", { value: "log" }, {}, "logarithmic"), el("option", { value: "linear" }, {}, "linear"));
  const status = workStatus(link, "memory");
  const said = el("p");
  const list = el("div", { className: "rl-bar rl-chips" });
  const element = el("div", {}, {},
    el("div", { className: "rl-form" }, {}, el("label", {}, {}, "Dependence of", target),
      el("label", {}, {}, "by", method), el("label", {}, {}, "scale", scale)),
    status.element, said, list);
  const strip = el("canvas", { role: "img", className: "rl-strip" });
  let at = null;
  strip.addEventListener("click", (event) => {
    if (!at || event.offsetX < at.left) return;
    const row = at.first + Math.floor((event.offsetX - at.left) / at.column);
    if (row >= 1 && row < at.last) choose(row);
  });

  function offerTargets(lanes, selection, top) {
    const options = [["the whole state", { all: "state" }], ["the whole output", { all: "output" }]];
    for (const { lane, unit, label } of chosenUnits(lanes, selection)) {
      if (lane.role === "state") options.push([label, { name: lane.name, unit }]);
    }
    const output = lanes.find((l) => l.role === "output");
    for (const u of output ? top : []) options.push([`output ${unitLabel(output, u)}`, { y: u }]);
    const key = JSON.stringify(options);
    if (target.dataset.key === key) return;
    target.dataset.key = key;
    const before = target.value;
    target.replaceChildren(...options.map(([name, value]) =>
      el("option", { value: JSON.stringify(value) }, {}, name)));
    if (options.some(([, value]) => JSON.stringify(value) === before)) target.value = before;
  }

  const update = ({ store, lanes, selection, style, place, at: placed }) => {
    at = placed;
    if (status.asleep(model, place.t > 0 ? "" : "Feed an input to see what remains of it.")) {
      strip.hidden = true;
      said.textContent = "";
      list.replaceChildren();
      return;
    }
    strip.hidden = false;
    offerTargets(lanes, selection, largest(store, lanes, place.t));
    const asked = JSON.parse(target.value);
    method.disabled = Boolean(asked.all);
    const exact = method.lastElementChild; // of one unit only
    exact.disabled = !asked.name;
    if (exact.selected && exact.disabled) method.selectedIndex = 0;
    const state = lanes.find((l) => l.role === "state");
    const now = store.value(place.t, state.from); // after an undo a step may be another one
    const work = link.works.want("memory", { branch: place.branch, step: place.t, now, target: asked,
      method: asked.all ? "gradient" : method.value });
    status.update(work);
    const values = work.parts.values ?? null;
    const fading = work.parts.fading ?? null;
    said.textContent = (fading ? fadingText(fading) : "") + splitText(values) + (values?.edited
      ? ` The run was changed by hand at step ${values.start}: told is what depends on the inputs after it.` : "");
    const log = scale.value === "log";
    const title = target.selectedOptions[0].textContent;
    drawBars(strip, store, lanes, at, style, values, log, { title, step: selection.step ?? null,
      stale: busy(work) && !current(work, "values") });
    strip.ariaLabel = `How strongly ${title} at step ${place.t} depends on the input of each step`;
    listStrongest(list, values, store, lanes, at, choose);
  };
  return { name: "Memory", element, strip, update, leave: () => link.works.leave("memory") };
}

/** The outputs that are largest at a step, the largest first. */
function largest(store, lanes, row) {
  const lane = lanes.find((l) => l.role === "output");
  if (!lane) return [];
  const all = Array.from({ length: lane.units }, (_, u) => u);
  return all.sort((a, b) => store.value(row, lane.from + b) - store.value(row, lane.from + a))
    .slice(0, OUTPUTS).sort((a, b) => a - b);
}

function listStrongest(list, values, store, lanes, at, choose) {
  const key = values ? values.request : "";
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const found = values ? [...values.data].map((v, i) => [values.start + 1 + i, v])
    .filter(([, v]) => v).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, STRONGEST) : [];
  list.replaceChildren(...(values ? [`step ${values.start + values.data.length} depends ${found.length ? "most on " : "on no input at all"}`] : []),
    ...found.map(([row, v]) => {
      const word = wordOf(at, store, lanes, row);
      return el("button", { type: "button", title: "Select this step" }, { click: () => choose(row) },
        `step ${row}${word ? ` ${word}` : ""}: ${brief(v)}`);
    }));
}

export function drawBars(canvas, store, lanes, at, style, values, log, { title, step, stale }) {
  const g = context(canvas, BARS_HIGH);
  const floor = BARS_HIGH - BARS_BOTTOM;
  g.fillStyle = style.background;
  g.fillRect(0, 0, canvas.clientWidth, BARS_HIGH);
  g.font = `600 12px ${style.font}`;
  g.textBaseline = "middle";
  g.textAlign = "left";
  g.fillStyle = style.text;
  g.fillText("depends on", 4, BARS_TOP + 6, 74);
  g.font = `11px ${style.font}`;
  g.fillStyle = style.faint;
  g.fillText(title, 4, BARS_TOP + 22, 74);
  if (!values) return;
  g.fillText(CONTRIBUTIONS.includes(values.method) ? "contribution" : "‖∂/∂x‖", 4, BARS_TOP + 38, 74);
  const numbers = values.data;
  const axis = log ? decades(numbers) : [0, numbers.reduce((m, v) => Math.max(m, Math.abs(v)), 0)];
  drawBarAxis(g, at, style, axis, log, floor);
  g.save();
  g.beginPath();
  g.rect(at.left, 0, at.plot, BARS_HIGH);
  g.clip();
  g.globalAlpha = stale ? 0.4 : 1;
  const wide = Math.max(1, at.column * 0.7);
  for (let i = 0; i < numbers.length; i++) {
    const row = values.start + 1 + i;
    if (row < at.first || row >= at.last) continue;
    const [share, cut] = barHeight(numbers[i], axis, log);
    const x = at.left + (row - at.first + 0.5) * at.column - wide / 2;
    const high = share * (floor - BARS_TOP);
    g.fillStyle = g.strokeStyle = numbers[i] < 0 ? mark(0)[0] : style.accent;
    if (cut) g.globalAlpha *= 0.5;
    // what speaks against is hollow
    if (numbers[i] < 0 && wide > 3) g.strokeRect(x + 0.5, floor - high + 0.5, wide - 1, high - 1);
    else g.fillRect(x, floor - high, wide, high);
    if (cut) g.globalAlpha = stale ? 0.4 : 1;
    if (row === step) {
      g.strokeStyle = style.text;
      g.setLineDash([3, 3]);
      g.strokeRect(at.left + (row - at.first) * at.column + 0.5, BARS_TOP, Math.max(3, at.column - 1), floor - BARS_TOP);
      g.setLineDash([]);
    }
    const word = wordOf(at, store, lanes, row);
    if (word && at.column >= 16) {
      g.fillStyle = style.faint;
      g.textAlign = "center";
      g.fillText(shortened(word, 1.3 * at.column, (text) => g.measureText(text).width), x + wide / 2, floor + 11, at.column - 3);
    }
  }
  g.restore();
}

function drawBarAxis(g, at, style, axis, log, floor) {
  g.strokeStyle = style.line;
  g.lineWidth = 1;
  g.strokeRect(at.left - 0.5, BARS_TOP - 0.5, at.plot + 1, floor - BARS_TOP + 1);
  if (!axis) return;
  g.textAlign = "right";
  const ticks = log
    ? Array.from({ length: axis[1] - axis[0] + 1 }, (_, k) => [k / (axis[1] - axis[0]), power(axis[0] + k)])
    : [[0, "0"], [1, brief(axis[1])]];
  const every = Math.ceil(ticks.length / 6);
  ticks.forEach(([share, text], k) => {
    const y = floor - share * (floor - BARS_TOP);
    if ((ticks.length - 1 - k) % every === 0) g.fillText(text, at.left - 8, Math.min(Math.max(y, BARS_TOP + 4), floor - 4));
    if (!log) return;
    g.globalAlpha = 0.5;
    g.beginPath();
    g.moveTo(at.left, Math.round(y) - 0.5);
    g.lineTo(at.left + at.plot, Math.round(y) - 0.5);
    g.stroke();
    g.globalAlpha = 1;
  });
}

/** How far a study is: a bar with Cancel while it goes on, an error, or why there is nothing. */
export function workStatus(link, topic) {
  const bar = el("progress", { max: 1, value: 0, ariaLabel: `Progress of ${topic}` });
  const cancel = el("button", { type: "button" }, { click: () => { link.works.stop(topic); link.changed(); } }, "Cancel");
  const again = el("button", { type: "button" }, {
    click: () => { link.works.want(topic, JSON.parse(link.works.get(topic).key), true); link.changed(); },
  }, "Compute again");
  const said = el("span", { role: "status" });
  const element = el("div", { className: "rl-bar rl-work" }, {}, bar, cancel, said, again);
  const tell = (text) => { if (said.textContent !== text) said.textContent = text; };
  const update = (work) => {
    const going = busy(work);
    // what is quick shows no bar: it would only flicker
    if (!going) clearTimeout(work.patience);
    else work.patience ??= setTimeout(() => { work.slow = true; link.changed(); }, 300);
    const shown = going && Boolean(work.slow);
    bar.hidden = cancel.hidden = !shown;
    if (work.share > 0) bar.value = work.share;
    else bar.removeAttribute("value");
    again.hidden = !["stopped", "error"].includes(work.state);
    said.className = work.state === "error" ? "rl-wrong" : "rl-faint";
    tell(work.state === "error" ? work.error : work.state === "stopped" ? "Stopped." : shown ? "computing …" : "");
  };
  /** Whether there is nothing to compute, and why. */
  const asleep = (model, why) => {
    const text = model.get("recorded") ? "This page is a recording: this needs the model. Open it in JupyterLab for that." : why;
    if (!text) return false;
    bar.hidden = cancel.hidden = again.hidden = true;
    said.className = "rl-faint";
    tell(text);
    return true;
  };
  return { element, update, asleep };
}
