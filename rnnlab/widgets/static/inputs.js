import { el, takeOnEnter } from "./dom.js";
import { curveInput } from "./input-curve.js";
import { queueInput } from "./input-queue.js";
import { signalInput } from "./input-signal.js";
import { tokensInput } from "./input-tokens.js";
import { vectorInput } from "./input-vector.js";

// Where the next input comes from. Each kind fills the panel with its own controls: it is given the
// panel, the model, and a way to speak to the feed in the kernel and to hear when that has answered;
// it returns how to bring what it shows up to date.

const KINDS = { vector: vectorInput, queue: queueInput, tokens: tokensInput, signal: signalInput,
  curve: curveInput };

export function inputPanel(model, link) {
  const say = (message, then) => link.send("feed", message, then);
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
      current = KINDS[feed.kind](body, model, say);
    }
    source.value = String(feed.source);
    const { place } = link.store;
    current.update(place, whyEmpty(feed, place));
  };
  model.on("change:feed", update);
  update();
  return { element, update, close: () => model.off("change:feed", update) };
}

/** Why nothing can be fed at this place, and what to do; "" if something can. */
export function whyEmpty({ kind, count, unit, examples }, { position }) {
  if (count === null || position === null || position < count) return "";
  if (kind === "tokens") return count ? "all tokens are fed: type more, or press Reset" : "no token yet: type one";
  if (kind === "curve") return `all ${count} steps of the curve are fed: press Reset, or give it more`;
  return `all ${count} ${unit}s are fed: press Reset${examples.length > 1 ? ", or choose another example" : ""}`;
}
