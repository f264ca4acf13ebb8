import { el, themeOf } from "./dom.js";
import { colorTable } from "./colors.js";

// Recorded sequences: which one is fed, and how far it is.

export function queueInput(element, model, say) {
  const picture = el("canvas", { className: "rl-picture", width: 72, height: 72 });
  const choice = el("select", { ariaLabel: "Example" }, {
    change: () => say({ example: Number(choice.value) }),
  });
  const go = (by) => () => say({ example: model.get("feed").chosen + by });
  const previous = el("button", { type: "button" }, { click: go(-1) }, "Previous example");
  const next = el("button", { type: "button" }, { click: go(1) }, "Next example");
  const fresh = el("input", { type: "checkbox" }, {
    change: () => say({ fresh: fresh.checked }),
  });
  const told = el("span", { role: "status" });
  const { examples } = model.get("feed");
  choice.append(...examples.map((label, i) => el("option", { value: i }, {}, label)));
  const several = examples.length > 1
    ? [choice, previous, next, el("label", {}, {}, fresh, "start a new run with each")]
    : [];
  element.append(picture, ...several, told);
  return {
    update(place, empty) {
      const feed = model.get("feed");
      const at = place.position ?? 0;
      choice.value = String(feed.chosen);
      fresh.checked = feed.fresh;
      previous.disabled = feed.chosen === 0;
      next.disabled = feed.chosen >= feed.examples.length - 1;
      const more = empty || `next: ${feed.unit} ${at + 1} of ${feed.count}`;
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
  const table = colorTable(themeOf(canvas), "share");
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
