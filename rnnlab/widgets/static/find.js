import { el } from "./dom.js";
import { chosenUnits } from "./lines.js";

// Spans in which the selected units are above a threshold together.

const SPANS_SHOWN = 40;

/** What was found, in words. */
export function foundText({ spans, count, at_least: least, units, above, span }) {
  const which = units.length === 1 ? "the unit is" : least === units.length
    ? `all ${least} units are` : `at least ${least} of ${units.length} units are`;
  const where = span ? ` within ${spanText(span)}` : "";
  if (!count) return `Nowhere${where} ${which} above ${above}.`;
  const more = count > spans.length ? `, the first ${spans.length} listed` : "";
  return `${count} ${count === 1 ? "span" : "spans"} in which ${which} above ${above}${where}${more}:`;
}

export const spanText = ([first, last]) => (first === last ? `step ${first}` : `steps ${first}–${last}`);

export function findPanel(model, link, choose) {
  const above = el("input", { type: "number", step: "any", value: 0.5, ariaLabel: "Threshold" });
  const least = el("input", { type: "number", min: 1, step: 1, value: 1, ariaLabel: "At least so many units" });
  const of = el("span");
  const inside = el("input", { type: "checkbox" });
  const where = el("span");
  const within = el("label", { hidden: true }, {}, inside, where);
  const go = el("button", { type: "submit" }, {}, "Find");
  const said = el("p", { className: "rl-faint", role: "status" });
  const list = el("div", { className: "rl-bar rl-chips" });
  const form = el("form", { className: "rl-bar" }, {
    submit: (event) => {
      event.preventDefault();
      link.send("find", { units: model.get("selection").units, above: above.valueAsNumber,
        at_least: least.valueAsNumber, span: inside.checked ? model.get("selection").span : null });
    },
    keydown: (event) => { if (event.key === "Enter") event.stopPropagation(); },
  }, el("label", {}, {}, "above", above), el("label", {}, {}, "by at least", least), of, within, go);
  const element = el("details", { className: "rl-find" }, {},
    el("summary", {}, {}, "Find where these units are active"), form, said, list);
  let shown = null;
  let units = 0;
  let brushed = "null";
  const update = (lanes, selection) => {
    const chosen = chosenUnits(lanes, selection);
    element.hidden = !chosen.length || Boolean(model.get("recorded"));
    if (chosen.length !== units) {
      units = chosen.length;
      least.max = units;
      least.value = units;
    }
    of.textContent = `of ${units}`;
    const span = selection.span ?? null;
    if (JSON.stringify(span) !== brushed) {
      brushed = JSON.stringify(span);
      within.hidden = !span;
      where.textContent = span ? `within ${spanText(span)}` : "";
      // a span that was found is looked at, it is not where to search next
      inside.checked = span !== null && !link.found?.spans.some(([first, last]) => first === span[0] && last === span[1]);
    }
    const found = link.found;
    const same = found && JSON.stringify(found.units) === JSON.stringify(selection.units);
    const now = same ? found : null;
    if (now === shown) return;
    shown = now;
    said.textContent = now ? foundText(now) : "";
    list.replaceChildren(...(now?.spans ?? []).slice(0, SPANS_SHOWN).map(([first, last, strength]) =>
      el("button", { type: "button", title: `Select this span; mean activity ${strength.toFixed(2)}` },
        { click: () => choose([first, last]) }, spanText([first, last]))));
    if (now && now.spans.length > SPANS_SHOWN) list.append(`and ${now.count - SPANS_SHOWN} more`);
  };
  return { element, update };
}
