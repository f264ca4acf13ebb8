// The labels of the steps: the tokens that were fed.

export class Labels {
  constructor() {
    this.list = [];
  }

  /** Take in the labels of a message with rows: what was known from its first row on is gone. */
  take({ start, labels, whole, kept }) {
    this.list.length = Math.min(this.list.length, whole ? kept ?? 0 : start);
    this.put(Math.max(start, 1), labels);
  }

  /** Take in the labels of steps from a row on. */
  put(row, labels) {
    (labels ?? []).forEach((label, k) => { this.list[row + k] = label; });
  }

  /** The label of a step; null where it has none. */
  at(row) {
    return this.list[row] ?? null;
  }

  get some() {
    return this.list.length > 0;
  }
}

/** A token as it can be seen: blanks and line ends get a sign. */
export const visible = (token) =>
  (/\S/.test(token) ? token : token.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥"));

/** As much of a text as fits: `wide(text)` is its width; "" if not even a letter has room. */
export function shortened(text, room, wide) {
  if (wide(text) <= room) return text;
  for (let n = [...text].length - 1; n > 0; n--) {
    const cut = `${[...text].slice(0, n).join("")}…`;
    if (wide(cut) <= room) return cut;
  }
  return "";
}
