import { el, featureChoice, fits, plain, showIn } from "./dom.js";
import { curvePlace, drawCurve } from "./input-signal.js";

// A curve drawn with the mouse, or typed as a list of numbers.

/** Points after a stroke from one (step, value) to another: all steps between lie on its line. */
export function stroked(points, from, to) {
  const after = [...points];
  const steps = Math.abs(to.step - from.step);
  for (let k = 0; k <= steps; k++) {
    const share = steps ? k / steps : 1;
    const step = from.step + Math.sign(to.step - from.step) * k;
    after[step] = Number((from.value + share * (to.value - from.value)).toPrecision(3));
  }
  return after;
}

/** The numbers of a typed list; what is none stays text. */
export const listed = (text) => text.split(/[\s,;]+/).filter(Boolean).map((piece) => {
  const number = Number(piece.replace("−", "-"));
  return Number.isFinite(number) ? number : piece;
});

/** Points cut off, or gone on with `rest`, to be so many. */
export const resized = (points, steps, rest) =>
  Array.from({ length: steps }, (_, k) => points[k] ?? rest);

export function curveInput(element, model, say) {
  const { names } = model.get("feed");
  let points = model.get("feed").points;
  let pen = null;
  let place = { position: 0 };
  const canvas = el("canvas", { className: "rl-curve rl-draw",
    title: "Draw with the mouse, or type the values" });
  canvas.setAttribute("role", "img");
  const steps = el("input", { type: "number", min: 1, max: 10000, ariaLabel: "Steps of the curve" }, {
    change: () => {
      if (fits(steps)) say({ points: resized(points, steps.valueAsNumber, model.get("feed").rest) });
    },
  });
  const typed = el("input", { type: "text", size: 28, ariaLabel: "Values of the curve",
    title: "Numbers, one a step; Enter takes them" }, {
    change: () => {
      const numbers = listed(typed.value);
      const odd = numbers.find((piece) => typeof piece === "string");
      const wrong = odd ? `“${odd}” is no number.` : numbers.length ? "" : "A number for each step, please.";
      if (fits(typed, wrong)) say({ points: numbers });
    },
  });
  const flat = el("button", { type: "button" }, {
    click: () => say({ points: resized([], points.length, model.get("feed").rest) }),
  }, "Flatten");
  const features = featureChoice(names, (chosen) => say({ features: chosen }));
  const told = el("span", { role: "status", className: "rl-faint" });
  element.append(el("label", {}, {}, "Steps", steps), el("label", {}, {}, "Values", typed), flat,
    features.label, told, canvas);

  const draw = () => drawCurve(canvas, points, 0, place.position ?? 0, model.get("feed"));
  const under = (event) => {
    const { low, high } = model.get("feed");
    const at = curvePlace(canvas.clientWidth, canvas.clientHeight, points.length,
      Math.min(low, ...points), Math.max(high, ...points));
    return { step: at.step(event.offsetX), value: at.value(event.offsetY) };
  };
  const stroke = (event) => {
    const to = under(event);
    points = stroked(points, pen ?? to, to);
    pen = to;
    draw();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => { if (pen) stroke(event); });
  canvas.addEventListener("lostpointercapture", () => {
    pen = null;
    say({ points });
  });
  return {
    update(now, empty) {
      place = now;
      const next = empty || `next: step ${place.position + 1} of ${model.get("feed").count}`;
      if (told.textContent !== next) told.textContent = next;
      if (pen) return;
      const feed = model.get("feed");
      points = feed.points;
      showIn(steps, plain(points.length));
      showIn(typed, points.map(plain).join(" "));
      features.show(feed.features);
      canvas.ariaLabel = `The curve: ${points.length} steps from ${plain(Math.min(...points))} `
        + `to ${plain(Math.max(...points))}`;
      draw();
    },
  };
}
