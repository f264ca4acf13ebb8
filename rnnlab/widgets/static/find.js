import { el } from "./dom.js";
import { chosenUnits } from "./lines.js";

// Spans in which the selected units are above a threshold together.

const SPANS_SHOWN = 40;

/** What was found, in words. */
export function foundText({ spans, count, at_least: least, units, above }) {
  const which = units.length === 1 ? "the unit is" : least === units.length
    ? `all ${least} units are` : `at least ${least} of ${units.length} units are`;
  if (!count) return `Nowhere ${which} above ${above}.`;
  const more = count > spans.length ? `, the first ${spans.length} listed` : "";
  return `${count} ${count === 1 ? "span" : "spans"} in which ${which} above ${above}${more}:`;
}

export const spanText = ([first, last]) => (first === last ? `step ${first}` : `steps ${first}–${last}`);

export function findPanel(model, link, choose) {
  const above = el("input", { type: "number", step: "any", value: 0.5, ariaLabel: "Threshold" });
  const least = el("input", { type: "number", min: 1, step: 1, value: 1, ariaLabel: "At least so many units" });
  const of = el("span");
  const go = el("button", { type: "submit" }, {}, "Find");
  const said = el("p", { className: "rl-faint", role: "status" });
  const list = el("div", { className: "rl-bar rl-chips" });
  const form = el("form", { className: "rl-bar" }, {
    submit: (event) => {
      event.preventDefault();
      link.send("find", { units: model.get("selection").units, above: above.valueAsNumber,
        at_least: least.valueAsNumber });
    },
    keydown: (event) => { if (event.key === "Enter") event.stopPropagation(); },
  }, el("label", {}, {}, "above", above), el("label", {}, {}, "by at least", least), of, go);
  const element = el("details", { className: "rl-find" }, {},
    el("summary", {}, {}, "Find where these units are active"), form, said, list);
  let shown = null;
  let units = 0;
  const update = (lanes, selection) => {
    const chosen = chosenUnits(lanes, selection);
    element.hidden = !chosen.length || Boolean(model.get("recorded"));
    if (chosen.length !== units) {
      units = chosen.length;
      least.max = units;
      least.value = units;
    }
    of.textContent = `of ${units}`;
    const found = link.found;
    const same = found && JSON.stringify(found.units) === JSON.stringify(selection.units);
    const now = same ? found : null;
    if (now === shown) return;
    shown = now;
    said.textContent = now ? foundText(now) : "";
    list.replaceChildren(...(now?.spans ?? []).slice(0, SPANS_SHOWN).map((span) =>
      el("button", { type: "button", title: `Select this span; mean activity ${span[2].toFixed(2)}` },
        { click: () => choose([span[0], span[1]]) }, spanText(span))));
    if (now && now.spans.length > SPANS_SHOWN) list.append(`and ${now.count - SPANS_SHOWN} more`);
  };
  return { element, update };
}
