import { el } from "./dom.js";

// A strip of tabs as the WAI-ARIA practices have it: one stop for the Tab key, arrows go along it,
// and the panel shown is the only one that is computed or drawn.

let counted = 0;

/** The tab that a key leads to, of `count`; null if the key is not one of theirs. */
export function tabAfter(key, at, count) {
  if (key === "ArrowRight" || key === "ArrowDown") return (at + 1) % count;
  if (key === "ArrowLeft" || key === "ArrowUp") return (at + count - 1) % count;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return null;
}

/** Tabs `{ name, element }`; `changed(from)` is told when another one is shown. */
export function tabStrip(tabs, label, changed) {
  counted += 1;
  const id = `rl-tabs-${counted}-${Math.random().toString(36).slice(2, 8)}`;
  let shown = tabs[0];
  const buttons = tabs.map((tab, k) => {
    const button = el("button", { type: "button", id: `${id}-tab-${k}`, role: "tab" },
      { click: () => show(k) }, tab.name);
    button.setAttribute("aria-controls", `${id}-panel-${k}`);
    return button;
  });
  const panels = tabs.map((tab, k) => {
    const panel = el("div", { className: "rl-panel", id: `${id}-panel-${k}`, role: "tabpanel", tabIndex: 0 },
      {}, tab.element);
    panel.setAttribute("aria-labelledby", `${id}-tab-${k}`);
    return panel;
  });
  const strip = el("div", { className: "rl-tabs", role: "tablist", ariaLabel: label }, {
    keydown: (event) => {
      const to = tabAfter(event.key, tabs.indexOf(shown), tabs.length);
      if (to === null || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      show(to);
      buttons[to].focus();
    },
  }, ...buttons);

  function mark() {
    tabs.forEach((tab, k) => {
      const on = tab === shown;
      buttons[k].ariaSelected = String(on);
      buttons[k].tabIndex = on ? 0 : -1;
      panels[k].hidden = !on;
      if (tab.strip) tab.strip.hidden = !on;
    });
  }

  function show(k) {
    if (tabs[k] === shown) return;
    const from = shown;
    shown = tabs[k];
    mark();
    changed(from);
  }

  mark();
  const element = el("div", { className: "rl-tabbed" }, {}, strip, ...panels);
  return { element, all: tabs, get shown() { return shown; } };
}
