import { el } from "./dom.js";
import { visible } from "./labels.js";

// A text field that completes the last word from a list: the combobox of the ARIA practices.

const OFFERS = 8;
let fields = 0;

/** The words that begin as the last one of a text, and the text before it. */
export function offers(text, words) {
  const start = text.search(/\S+$/);
  if (start < 0) return { head: text, found: [] };
  const [head, last] = [text.slice(0, start), text.slice(start)];
  const found = words.filter((word) => word.startsWith(last) && word !== last).slice(0, OFFERS);
  return { head, found };
}

/** `words()` gives the list, `enter()` is called when Enter is pressed and no offer is chosen. */
export function completing(name, words, enter) {
  const id = `rl-offers-${fields++}`;
  const list = el("ul", { id, className: "rl-offers", role: "listbox", ariaLabel: "Completions",
    hidden: true });
  const field = el("input", { type: "text", size: 30, ariaLabel: name, autocomplete: "off",
    spellcheck: false, role: "combobox", "aria-autocomplete": "list", "aria-controls": id,
    "aria-expanded": "false" });
  const element = el("span", { className: "rl-combo" }, {}, field, list);
  let offered = { head: "", found: [] };
  let chosen = -1;

  const show = (found, at = -1) => {
    chosen = at;
    list.hidden = !found.length;
    field.setAttribute("aria-expanded", String(found.length > 0));
    list.replaceChildren(...found.map((word, k) => el("li", { id: `${id}-${k}`, role: "option",
      ariaSelected: String(k === at) }, {
      pointerdown: (event) => { event.preventDefault(); take(k); },
    }, visible(word))));
    if (at < 0) field.removeAttribute("aria-activedescendant");
    else field.setAttribute("aria-activedescendant", `${id}-${at}`);
  };
  const close = () => show([]);
  const take = (k) => {
    field.value = `${offered.head}${offered.found[k]} `;
    close();
    field.focus();
  };
  field.addEventListener("input", () => {
    offered = offers(field.value, words());
    show(offered.found);
  });
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const { found } = offered;
    const open = !list.hidden;
    if (event.key === "Enter" && open && chosen >= 0) {
      take(chosen);
    } else if (event.key === "Enter") {
      close();
      enter();
    } else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const by = event.key === "ArrowDown" ? 1 : -1;
      show(found, (chosen + by + found.length + (chosen < 0 && by < 0 ? 1 : 0)) % found.length);
    } else if (open && event.key === "Escape") {
      close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  return { element, field };
}
