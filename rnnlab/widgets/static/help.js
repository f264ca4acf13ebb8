import { el } from "./dom.js";

// What the keys and the mouse do, in words. The keys of the transport are listed from its buttons;
// the others are bound in pointer.js, tabs.js, tokens.js, input-*.js and complete.js, and a test
// compares what is bound there with what is said here.

export const GESTURES = {
  "On the state view": [
    ["← → ↑ ↓", "go from cell to cell; ← → with Shift, select a span"],
    ["Enter, Space", "select the unit and the step of the cell; with Shift, one unit more"],
    ["G", "go back or forward to the step of the cell"],
    ["Escape", "let go of the span, then of units and step"],
    ["+ −", "zoom in, out"],
    ["PageUp, PageDown", "look at what is before, after"],
    ["Home, End", "look at the start; follow the newest step"],
    ["0", "look at the whole recording"],
    ["Click", "select the unit and the step; with Shift, one more unit"],
    ["Double-click", "go back or forward to the step"],
    ["Drag", "look at what is before, after; with Shift, select a span"],
    ["Wheel", "zoom, once the view has been clicked, or with Ctrl; sideways, look before, after"],
  ],
  "On tabs and the text": [
    ["← → ↑ ↓", "the one before, the next one"],
    ["Home, End", "the first, the last"],
  ],
  "In fields": [
    ["Enter", "take what is typed"],
    ["Escape", "leave the field: letters are keys again"],
    ["↑ ↓", "another completion, or a little more or less; in a grid with Shift, still less"],
    ["← →, Home, End", "in a grid, another cell"],
    ["PageUp, PageDown", "in a grid, the row above, below"],
    ["Drag", "in a grid, up or down, set the cell; on a curve, draw it"],
  ],
};

/** How to open the list of all keys and gestures in an explorer; `keys` are those of its transport. */
export function helpDialog(keys) {
  const close = el("button", { type: "button" }, { click: () => dialog.close() }, "Close");
  const dialog = el("dialog", { ariaLabel: "Keys and mouse", className: "rl-help" });
  const rows = (list) => list.flatMap(([key, what]) => [el("dt", {}, {}, key), el("dd", {}, {}, what)]);
  return (root) => {
    if (!dialog.firstChild) {
      const all = { "Anywhere but in fields": keys, ...GESTURES };
      dialog.append(close, ...Object.entries(all).flatMap(([title, list]) =>
        [el("h4", {}, {}, title), el("dl", {}, {}, ...rows(list))]));
      root.append(dialog); // not where the button is: a page that hides that shows the list all the same
    }
    dialog.showModal();
  };
}
