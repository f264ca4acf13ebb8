import { completing } from "./complete.js";
import { el } from "./dom.js";
import { inWords, visible } from "./labels.js";

// Text typed from the vocabulary, as a queue of tokens: those fed, the next one, those to come.

const BEFORE = 30;
const AFTER = 80;

/** The tokens shown of a long text: a stretch around the next one. */
export function stretch(count, position) {
  const first = Math.max(0, Math.min(position - BEFORE, count - BEFORE - AFTER));
  return [first, Math.min(count, first + BEFORE + AFTER)];
}

export function tokensInput(element, model, say) {
  const { texts } = model.get("feed");
  const add = () => {
    const text = field.value;
    if (!text) return;
    field.value = "";
    say({ add: text }, () => {
      if (model.get("error") && !field.value) field.value = text; // refused: mend it
    });
  };
  const { field, element: combo } = completing("Text to feed", () => model.get("words"), add);
  field.placeholder = "type words, Enter adds them";
  const choice = el("select", { ariaLabel: "New run with" }, {
    change: () => {
      if (choice.value !== "") say({ example: Number(choice.value) });
      choice.value = "";
    },
  }, el("option", { value: "" }, {}, "a new run with …"),
    ...texts.map((text, i) => el("option", { value: i }, {}, text)));
  const clear = el("button", { type: "button", title: "Take away what is not fed yet" },
    { click: () => say({ clear: true }) }, "Clear");
  const chips = el("ol", { className: "rl-chips", ariaLabel: "Queue of tokens" });
  const told = el("span", { role: "status", className: "rl-faint" });
  element.append(combo, el("button", { type: "button" }, { click: add }, "Add"), clear,
    ...(texts.length ? [choice] : []), el("div", { className: "rl-tokens" }, {}, chips, told));
  let drawn = "";

  function build(tokens, position) {
    const [first, stop] = stretch(tokens.length, position);
    const before = first ? [el("li", { className: "rl-faint" }, {}, `… ${first} before`)] : [];
    const after = stop < tokens.length
      ? [el("li", { className: "rl-faint" }, {}, `… ${tokens.length - stop} more`)] : [];
    chips.replaceChildren(...before, ...tokens.slice(first, stop).map((token, k) => {
      const at = first + k;
      const text = el("span", {}, {}, visible(token));
      if (at < position) return el("li", { className: "rl-chip rl-fed", title: `${inWords(token)}: fed` }, {}, text);
      const chip = el("li", { className: "rl-chip" }, {}, text, el("button",
        { type: "button", ariaLabel: `Remove ${inWords(token)}, token ${at + 1}`, title: "Remove" },
        { click: () => { say({ remove: at }); field.focus(); } }, "×"));
      chip.title = inWords(token);
      if (at === position) {
        chip.classList.add("rl-next");
        chip.setAttribute("aria-current", "step");
        chip.title += ": next";
      }
      return chip;
    }), ...after);
  }

  return {
    update(place, empty) {
      const { tokens, carried } = model.get("feed");
      const position = place.position ?? 0;
      clear.disabled = position >= tokens.length;
      const key = JSON.stringify([position, tokens]);
      if (key !== drawn) {
        drawn = key;
        build(tokens, position);
      }
      // queue and place come in two messages: for a moment there may be no such token
      const next = empty || (position < tokens.length
        ? `next: ${visible(tokens[position])} (${position + 1} of ${tokens.length})` : "");
      const hint = carried ? `${next} · the same text again: what you type takes its place` : next;
      if (told.textContent !== hint) told.textContent = hint;
    },
  };
}
