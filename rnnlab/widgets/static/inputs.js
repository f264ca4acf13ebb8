import { el, takeOnEnter } from "./dom.js";
import { curveInput } from "./input-curve.js";
import { queueInput } from "./input-queue.js";
import { signalInput } from "./input-signal.js";
import { tokensInput } from "./input-tokens.js";
import { vectorInput } from "./input-vector.js";

// Where the next input comes from. Each kind fills the panel with its own controls: it is given the
// panel, the model, a way to speak to the feed in the kernel (the number of what was said) and one to
// ask whether that still waits for its answer; it returns how to bring what it shows up to date.

const KINDS = { vector: vectorInput, queue: queueInput, tokens: tokensInput, signal: signalInput,
  curve: curveInput };

export function inputPanel(model, link) {
  const say = (message) => link.send("feed", message);
  const waits = (id) => link.waiting.has(id);
  const source = el("select", { ariaLabel: "Input from" }, {
    change: () => say({ from: Number(source.value) }),
  });
  const from = el("label", {}, {}, "Input from", source);
  const body = el("div", { className: "rl-input-body" });
  const element = el("div", { className: "rl-input", role: "group", ariaLabel: "Input" }, {},
    from, body);
  takeOnEnter(element);
  let built = null;
  let current = { update() {} };
  const update = () => {
    const feed = model.get("feed");
    const wanted = JSON.stringify([feed.kind, feed.source, feed.names, feed.examples, feed.texts]);
    if (wanted !== built) {
      built = wanted;
      source.replaceChildren(...feed.sources.map((title, i) => el("option", { value: i }, {}, title)));
      from.hidden = feed.sources.length < 2;
      body.replaceChildren();
      current = KINDS[feed.kind](body, model, say, waits);
    }
    source.value = String(feed.source);
    current.update(link.store.place);
  };
  model.on("change:feed", update);
  update();
  return { element, update, close: () => model.off("change:feed", update) };
}

/** Whether the chosen feed has nothing left at this place. */
export const exhausted = (feed, place) =>
  feed.count !== null && place.position !== null && place.position >= feed.count;
