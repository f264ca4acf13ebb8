import { el, featureChoice, fits, plain, showIn } from "./dom.js";
import { context, format } from "./stateview.js";

// A generator: its shape and its numbers, and a preview of what it gives.

// of each number its title, least value, step, and the shapes that have it
const NUMBERS = {
  amplitude: ["Amplitude", "", "any", ["impulse", "step", "sine", "noise"]],
  period: ["Period", 0, "any", ["impulse", "sine"]],
  onset: ["Onset", 1, 1, ["impulse", "step", "sine", "noise"]],
  seed: ["Seed", 0, 1, ["noise"]],
};
const PREVIEW_HIGH = 84;

export function signalInput(element, model, say) {
  const { names, shapes } = model.get("feed");
  const shape = el("select", { ariaLabel: "Signal" }, { change: () => say({ shape: shape.value }) },
    ...shapes.map((name) => el("option", { value: name }, {}, name)));
  const fields = Object.entries(NUMBERS).map(([key, [title, min, step, used]]) => {
    const number = el("input", { type: "number", min, step, ariaLabel: title }, {
      change: () => { if (fits(number)) say({ [key]: number.value }); },
    });
    if (key === "period") number.title = "In steps; an impulse of period 0 comes once";
    if (key === "onset") number.title = "The step at which it begins";
    return { key, used, number, label: el("label", {}, {}, title, number) };
  });
  const features = featureChoice(names, (chosen) => say({ features: chosen }));
  const canvas = el("canvas", { className: "rl-curve" });
  canvas.setAttribute("role", "img");
  element.append(el("label", {}, {}, "Signal", shape), ...fields.map((field) => field.label),
    features.label, canvas);
  let asked = null;
  return {
    update(place) {
      const feed = model.get("feed");
      shape.value = feed.signal.shape;
      for (const { key, used, number, label } of fields) {
        label.hidden = !used.includes(feed.signal.shape);
        showIn(number, plain(feed.signal[key]));
      }
      features.show(feed.features);
      const { from, values } = feed.preview;
      const at = (place.position ?? 0) - from;
      canvas.ariaLabel = `The ${feed.signal.shape}, steps ${from + 1} to ${from + values.length}`;
      drawCurve(canvas, values, from, at, feed);
      const want = Math.floor((place.position ?? 0) / values.length) * values.length;
      if (place.position !== null && want !== from && want !== asked) {
        asked = want;
        say({ look: want });
      }
    },
  };
}

/** Where a curve of so many steps is drawn: the middle of a step's column, the height of a value. */
export function curvePlace(width, height, steps, low, high) {
  const [left, top, bottom] = [34, 8, 16];
  const column = (width - left - 6) / steps;
  const room = height - top - bottom;
  return {
    left, top, column, bottom: height - bottom,
    x: (step) => left + (step + 0.5) * column,
    y: (value) => top + ((high - value) / (high - low)) * room,
    step: (x) => Math.min(steps - 1, Math.max(0, Math.floor((x - left) / column))),
    value: (y) => Math.min(high, Math.max(low, high - ((y - top) / room) * (high - low))),
  };
}

/** Values as stems and a line over steps, the next one marked. */
export function drawCurve(canvas, values, from, at, { low, high }) {
  if (!canvas.clientWidth) return;
  const css = getComputedStyle(canvas);
  const colour = (name) => css.getPropertyValue(name).trim();
  const g = context(canvas, PREVIEW_HIGH);
  const most = Math.max(high, ...values);
  const least = Math.min(low, ...values);
  const place = curvePlace(canvas.clientWidth, PREVIEW_HIGH, values.length, least, most);
  g.clearRect(0, 0, canvas.clientWidth, PREVIEW_HIGH);
  g.font = `11px ${css.fontFamily}`;
  g.lineWidth = 1;
  g.strokeStyle = colour("--rl-line");
  g.fillStyle = colour("--rl-faint");
  g.textAlign = "right";
  g.textBaseline = "middle";
  const zero = least < 0 && most > 0 ? [0] : [];
  for (const v of [most, ...zero, least]) {
    g.fillText(format(v), place.left - 5, place.y(v));
    g.beginPath();
    g.moveTo(place.left, place.y(v));
    g.lineTo(canvas.clientWidth - 6, place.y(v));
    g.stroke();
  }
  g.textBaseline = "top";
  g.textAlign = "center";
  const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((n) => n * place.column >= 30) ?? 1e4;
  for (let n = every; n <= values.length + from; n += every) {
    if (n > from) g.fillText(String(n), place.x(n - 1 - from), place.bottom + 3);
  }
  if (at >= 0 && at < values.length) {
    g.strokeStyle = colour("--rl-accent");
    g.lineWidth = 2;
    g.strokeRect(place.left + at * place.column, place.top - 3, Math.max(3, place.column),
      place.bottom - place.top + 5);
  }
  g.strokeStyle = g.fillStyle = colour("--rl-text");
  g.lineWidth = 1.5;
  g.beginPath();
  values.forEach((v, k) => (k ? g.lineTo(place.x(k), place.y(v)) : g.moveTo(place.x(k), place.y(v))));
  g.stroke();
  if (place.column >= 5) {
    for (const [k, v] of values.entries()) {
      g.beginPath();
      g.arc(place.x(k), place.y(v), 2, 0, 7);
      g.fill();
    }
  }
}
