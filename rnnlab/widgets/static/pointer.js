import { FOLLOW, WHOLE, locate, panned, rowAt, slotOf, unitAt, zoomed } from "./stateview.js";

// What the mouse and the keyboard do on the state view. The window onto time and the pointer are
// this view's own; the selection is the model's, shared by all views and by Python.

/** The selection with a unit chosen: alone, or (with `add`) put to or taken from the others. */
export function selectUnit(selection, name, unit, add) {
  const units = selection.units ?? [];
  const is = ([n, u]) => n === name && u === unit;
  if (!add) {
    const only = units.length === 1 && is(units[0]);
    return { ...selection, units: only ? [] : [[name, unit]] };
  }
  const without = units.filter((pair) => !is(pair));
  return { ...selection, units: without.length < units.length ? without : [...units, [name, unit]] };
}

/**
 * The selection with a cell chosen: its unit, and its step (of the session's place `t`: whichever that
 * is). The unit that is selected stays so at another step; at the same one, it is let go.
 */
export function selectCell(selection, { lane, unit, row }, t, add) {
  const step = row === t ? null : row;
  const only = !add && selection.units?.length === 1 && String(selection.units[0]) === `${lane},${unit}`;
  const chosen = only && step !== (selection.step ?? null) ? selection : selectUnit(selection, lane, unit, add);
  return { ...chosen, step };
}

/** The span with its end at one row moved to another; one begins there if none ends there. */
export function stretched(span, from, to) {
  const [a, b] = span ?? [from, from];
  return [a === from ? b : b === from ? a : from, to].sort((p, q) => p - q);
}

/** The cell beside `hover`: by rows of time, and by slots through the lanes. */
export function moved(hover, rows, slots, at, t) {
  const { lanes } = at;
  if (!hover) return { lane: lanes[0].name, unit: unitAt(lanes[0], 0), row: t };
  let k = Math.max(0, lanes.findIndex((l) => l.name === hover.lane));
  let slot = slotOf(lanes[k], hover.unit) + slots;
  if (slot < 0 && k > 0) { k -= 1; slot = lanes[k].units - 1; }
  if (slot >= lanes[k].units && k < lanes.length - 1) { k += 1; slot = 0; }
  slot = Math.max(0, Math.min(lanes[k].units - 1, slot));
  const row = Math.max(0, Math.min(at.rows - 1, hover.row + rows));
  return { lane: lanes[k].name, unit: unitAt(lanes[k], slot), row };
}

/** Bind a canvas: `state` has at, view, hover; `choose` gets a new selection, `later` redraws. */
export function bindPointer(canvas, state, { selection, choose, place, goTo, later }) {
  let drag = null;

  canvas.addEventListener("pointerdown", (event) => {
    if (!state.at || event.button !== 0) return;
    drag = { x: event.offsetX, y: event.offsetY, first: state.at.first, brush: event.shiftKey,
      far: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!state.at) return;
    if (drag) {
      drag.far ||= Math.hypot(event.offsetX - drag.x, event.offsetY - drag.y) > 4;
      if (drag.far && drag.brush) {
        const span = [rowAt(state.at, drag.x), rowAt(state.at, event.offsetX)];
        choose({ ...selection(), span: span.sort((a, b) => a - b) });
      } else if (drag.far) {
        const rows = (drag.x - event.offsetX) / state.at.column;
        state.view = panned({ ...state.at, first: drag.first }, rows);
      }
    }
    const found = locate(state.at, event.offsetX, event.offsetY);
    state.hover = found && { lane: found.lane.name, unit: found.unit, row: found.row };
    later();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.far && state.at) {
      const found = locate(state.at, event.offsetX, event.offsetY);
      if (found) {
        choose(selectCell(selection(), { ...found, lane: found.lane.name }, place().t, event.shiftKey));
      }
    }
    drag = null;
  });
  canvas.addEventListener("dblclick", (event) => {
    const found = state.at && locate(state.at, event.offsetX, event.offsetY);
    if (found) goTo(found.row);
  });
  canvas.addEventListener("pointerleave", () => {
    if (!drag) { state.hover = null; later(); }
  });
  canvas.addEventListener("wheel", (event) => {
    if (!state.at) return;
    // the wheel zooms once the view has been clicked (or with Ctrl); else it scrolls the page
    if (event.ctrlKey || document.activeElement === canvas) {
      state.view = zoomed(state.at, Math.exp(-event.deltaY / 300), event.offsetX);
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      state.view = panned(state.at, event.deltaX / state.at.column);
    } else {
      return;
    }
    event.preventDefault();
    later();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (!state.at || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const middle = state.at.left + state.at.plot / 2;
    if (step[event.key]) {
      const [rows, slots] = step[event.key];
      const { t } = place();
      const from = state.hover ?? (event.shiftKey ? moved(null, 0, 0, state.at, t) : null);
      state.hover = moved(from, rows, slots, state.at, t);
      if (event.shiftKey && rows) {
        choose({ ...selection(), span: stretched(selection().span, from.row, state.hover.row) });
      }
      if (state.hover.row < state.at.first) state.view = panned(state.at, state.hover.row - state.at.first);
      if (state.hover.row >= state.at.last) state.view = panned(state.at, state.hover.row - state.at.last + 1);
    } else if ((event.key === "Enter" || event.key === " ") && state.hover) {
      choose(selectCell(selection(), state.hover, place().t, event.shiftKey));
    } else if (event.key === "Escape") {
      choose({ ...selection(), ...(selection().span ? { span: null } : { units: [], step: null }) });
    } else if (event.key === "+" || event.key === "-") {
      state.view = zoomed(state.at, event.key === "+" ? 1.25 : 0.8, middle);
    } else if (event.key === "PageUp" || event.key === "PageDown") {
      state.view = panned(state.at, (event.key === "PageUp" ? -1 : 1) * state.at.visible);
    } else if (event.key === "Home") {
      state.view = { column: state.at.column, first: 0 };
    } else if (event.key === "End") {
      state.view = FOLLOW;
    } else if (event.key === "0") {
      state.view = WHOLE;
    } else if (event.key.toLowerCase() === "g" && state.hover) {
      goTo(state.hover.row);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    later();
  });
}
