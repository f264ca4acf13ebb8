import { el } from "./dom.js";
import { colorTable } from "./colors.js";

/** The panel that holds the next input: sliders for a vector, or a queue of recorded rows. */
export function inputPanel(model, link) {
  const { store } = link;
  const send = (action, detail) => link.send(action, detail);
  const element = el("div", { className: "rl-input", role: "group", ariaLabel: "Input" });
  let kind = null;
  let current = { update() {} };
  const build = () => {
    const feed = model.get("feed");
    const wanted = JSON.stringify([feed.kind, feed.names, feed.examples]);
    if (wanted !== kind) {
      kind = wanted;
      element.replaceChildren();
      current = feed.kind === "queue" ? queue(element, model, send) : vector(element, model, send);
    }
    current.update(store.place);
  };
  model.on("change:feed", build);
  build();
  return {
    element,
    update: build,
    close: () => model.off("change:feed", build),
  };
}

function vector(element, model, send) {
  const { names, low, high, step } = model.get("feed");
  const shown = names.map(() => el("output"));
  const sliders = names.map((name, i) => {
    const slider = el("input", { type: "range", min: low, max: high, step, ariaLabel: name }, {
      input: () => {
        shown[i].textContent = Number(slider.value).toFixed(2).replace("-", "−");
        send("vector", { values: sliders.map((s) => Number(s.value)) });
      },
    });
    return slider;
  });
  element.append(
    el("span", { className: "rl-faint" }, {}, "The next input, fed by Step"),
    el("div", { className: "rl-sliders" }, {}, ...sliders.map((slider, i) =>
      el("label", {}, {}, names[i], slider, shown[i]))));
  return {
    update() {
      const { values } = model.get("feed");
      sliders.forEach((slider, i) => {
        if (document.activeElement !== slider) slider.value = values[i];
        shown[i].textContent = Number(slider.value).toFixed(2).replace("-", "−");
      });
    },
  };
}

function queue(element, model, send) {
  const picture = el("canvas", { className: "rl-picture", width: 72, height: 72 });
  const choice = el("select", { ariaLabel: "Example" }, {
    change: () => send("choose", { example: Number(choice.value) }),
  });
  const go = (by) => () => send("choose", { example: model.get("feed").chosen + by });
  const previous = el("button", { type: "button" }, { click: go(-1) }, "Previous example");
  const next = el("button", { type: "button" }, { click: go(1) }, "Next example");
  const fresh = el("input", { type: "checkbox" }, {
    change: () => send("fresh", { on: fresh.checked }),
  });
  const told = el("span", { role: "status" });
  const { examples } = model.get("feed");
  choice.append(...examples.map((label, i) => el("option", { value: i }, {}, label)));
  const several = examples.length > 1
    ? [choice, previous, next, el("label", {}, {}, fresh, "start a new run with each")]
    : [];
  element.append(picture, ...several, told);
  return {
    update(place) {
      const feed = model.get("feed");
      const at = place.position ?? 0;
      choice.value = String(feed.chosen);
      fresh.checked = feed.fresh;
      previous.disabled = feed.chosen === 0;
      next.disabled = feed.chosen >= feed.examples.length - 1;
      const more = at < feed.count
        ? `next: ${feed.unit} ${at + 1} of ${feed.count}`
        : `all ${feed.count} ${feed.unit}s are fed`;
      const answer = feed.target ? `the answer: ${feed.target} · ${more}` : more;
      if (told.textContent !== answer) told.textContent = answer;
      showPicture(picture, feed, at);
    },
  };
}

/** The recording as a small image, time downwards, with the next row marked. */
function showPicture(canvas, feed, at) {
  canvas.hidden = !feed.picture;
  if (!feed.picture) return;
  const rows = feed.picture.length;
  const columns = feed.picture[0].length;
  const style = getComputedStyle(canvas);
  const [r, g, b] = (getComputedStyle(canvas.closest(".rnnlab") ?? canvas).backgroundColor
    .match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
  const table = colorTable(0.299 * r + 0.587 * g + 0.114 * b < 128 ? "dark" : "light", "share");
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  feed.picture.flat().forEach((v, i) => { pixels[i] = table[Math.round(255 * v)]; });
  const sheet = new OffscreenCanvas(columns, rows);
  sheet.getContext("2d").putImageData(image, 0, 0);
  const c = canvas.getContext("2d");
  c.imageSmoothingEnabled = false;
  c.drawImage(sheet, 0, 0, canvas.width, canvas.height);
  if (at < rows) {
    c.strokeStyle = style.getPropertyValue("--rl-accent").trim();
    c.lineWidth = 2;
    c.strokeRect(1, (at * canvas.height) / rows + 1, canvas.width - 2, canvas.height / rows - 2);
  }
  canvas.ariaLabel = `The example as a picture; the next row is ${Math.min(at + 1, rows)}`;
  canvas.setAttribute("role", "img");
}
