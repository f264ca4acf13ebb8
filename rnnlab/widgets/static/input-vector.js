import { colorIndex, colorTable, swatch } from "./colors.js";
import { el, fits, plain, putIn, showIn, themeOf } from "./dom.js";

// A vector set by hand: a slider and an exact number for each feature, or where they are many a
// grid of cells, each set by dragging up or down, by typing, or by the arrow keys.

const TRAVEL = 160; // pixels of a drag from one end of the range to the other

export function vectorInput(element, model, say) {
  const { names, low, high, grid } = model.get("feed");
  let values = [...model.get("feed").values];
  const set = (i, value) => {
    if (!Number.isFinite(value) || value === values[i]) return;
    values[i] = value;
    say({ input: i, value });
  };
  const held = { cell: null, typing: null };
  const shown = grid
    ? cells(element, names, low, high, held, set)
    : sliders(element, names, low, high, set);
  return {
    update() {
      if (held.cell !== null) return;
      values = [...model.get("feed").values];
      shown(values);
    },
  };
}

function sliders(element, names, low, high, set) {
  const rows = names.map((name, i) => {
    const number = el("input", { type: "number", step: "any", ariaLabel: `${name}, exactly` }, {
      change: () => { if (fits(number)) set(i, number.valueAsNumber); },
    });
    const slider = el("input", { type: "range", min: low, max: high, step: (high - low) / 200,
      ariaLabel: name }, {
      input: () => {
        putIn(number, plain(slider.value));
        set(i, slider.valueAsNumber);
      },
    });
    return { name, slider, number };
  });
  element.append(el("div", { className: "rl-sliders" }, {}, ...rows.map((row) =>
    el("div", {}, {}, el("span", { title: row.name }, {}, row.name), row.slider, row.number))));
  return (values) => rows.forEach(({ slider, number }, i) => {
    if (document.activeElement !== slider) slider.value = values[i];
    showIn(number, plain(values[i]));
  });
}

/** The value that a drag by so many pixels upwards makes of another; it stays in the range. */
export const dragged = (from, up, low, high) =>
  Math.min(high, Math.max(low, Number((from + (up / TRAVEL) * (high - low)).toPrecision(3))));

/** The cell to which a key leads from another, in a grid so many columns wide; null: no such key. */
export function neighbour(key, cell, columns, count) {
  const to = { ArrowLeft: cell - 1, ArrowRight: cell + 1, PageUp: cell - columns,
    PageDown: cell + columns, Home: 0, End: count - 1 }[key];
  return to === undefined ? null : Math.min(count - 1, Math.max(0, to));
}

function cells(element, names, low, high, held, set) {
  const told = el("div", { className: "rl-faint" });
  const grid = el("div", { className: "rl-grid", role: "group", ariaLabel: "Input vector" });
  const kind = low >= 0 ? "share" : "signed";
  const limit = Math.max(Math.abs(low), Math.abs(high));
  let shown = [];
  const tell = (i) => {
    told.textContent = `${names[i]} = ${plain(shown[i]).replace("-", "−")}`;
  };
  const inputs = names.map((name, i) => el("input", { type: "number", step: "any", ariaLabel: name,
    title: name, tabIndex: i ? -1 : 0 }, {
    input: () => { held.typing = i; },
    change: () => { held.typing = null; if (fits(inputs[i], undefined, grid)) set(i, inputs[i].valueAsNumber); },
    blur: () => { held.typing = null; },
    focus: () => {
      inputs.forEach((input) => { input.tabIndex = -1; });
      inputs[i].tabIndex = 0;
      inputs[i].select();
      tell(i);
    },
    pointerenter: () => tell(i),
    keydown: (event) => {
      const turn = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      const columns = inputs.filter((input) => input.offsetTop === inputs[0].offsetTop).length;
      const to = neighbour(event.key, i, columns, inputs.length);
      if (turn === undefined && to === null) return;
      event.preventDefault();
      if (to !== null) return void inputs[to].focus();
      const share = (event.shiftKey ? 0.01 : 0.1) * TRAVEL * turn;
      put(i, dragged(inputs[i].valueAsNumber || 0, share, low, high));
    },
    pointerdown: (event) => {
      held.cell = i;
      held.from = inputs[i].valueAsNumber || 0;
      held.y = event.clientY;
      inputs[i].setPointerCapture(event.pointerId);
    },
    pointermove: (event) => {
      if (held.cell !== i || Math.abs(event.clientY - held.y) < 3) return;
      put(i, dragged(held.from, held.y - event.clientY, low, high));
    },
    lostpointercapture: () => { held.cell = null; },
  }));
  const put = (i, value) => {
    putIn(inputs[i], plain(value));
    shown[i] = value;
    paint(i, colorTable(themeOf(grid), kind));
    tell(i);
    set(i, value);
  };
  const paint = (i, table) =>
    Object.assign(inputs[i].style, swatch(table, colorIndex(shown[i], kind, limit)));
  grid.append(...inputs);
  element.append(grid, told);
  let drawn = "";
  return (values) => {
    const theme = themeOf(grid);
    const key = theme + JSON.stringify(values);
    if (!told.textContent) {
      told.textContent = "Drag a cell up or down, type, or use the arrow keys; Tab leaves the grid.";
    }
    if (key === drawn) return;
    drawn = key;
    const table = colorTable(theme, kind);
    shown = [...values];
    inputs.forEach((input, i) => {
      showIn(input, plain(values[i]), held.typing === i);
      paint(i, table);
    });
  };
}
