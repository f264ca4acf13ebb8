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

const BLANK_SIGNS = { "\n": "⏎", "\t": "⇥" };
// what is drawn as nothing, or turns the order of the letters around it; joiners make letters
const UNSEEN = /[\p{Cc}\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/**
 * A token or a name as it can be seen: control characters, and blanks that are all of it, get a
 * sign; one written from right to left is isolated, so that it does not reorder the text around it.
 */
export function visible(text) {
  const seen = (/\S/.test(text) ? text : text.replace(/ /g, "␣")).replace(UNSEEN, (c) => {
    const code = c.codePointAt(0);
    return BLANK_SIGNS[c] ?? (code < 32 ? String.fromCharCode(0x2400 + code)
      : `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`);
  });
  return RIGHT_TO_LEFT.test(seen) ? `\u2068${seen}\u2069` : seen;
}

/** As much of a name as a sentence bears. */
export function shortName(name) {
  const letters = [...name];
  return visible(letters.length > 40 ? `${letters.slice(0, 39).join("")}…` : name);
}

/** As much of a text as fits: `wide(text)` is its width; "" if not even a letter has room. */
export function shortened(text, room, wide) {
  if (wide(text) <= room) return text;
  const letters = [...text];
  const cut = (n) => `${letters.slice(0, n).join("")}…`;
  let [fits, most] = [0, letters.length - 1];
  while (fits < most) {
    const n = Math.ceil((fits + most) / 2);
    if (wide(cut(n)) <= room) fits = n;
    else most = n - 1;
  }
  return fits ? cut(fits) : "";
}

const BLANKS = { " ": "blank", "\n": "line end", "\t": "tab" };

/** A token for a tooltip or a name: one of blanks only is said in words. */
export const inWords = (token) =>
  (/\S/.test(token) ? visible(token) : [...token].map((c) => BLANKS[c] ?? visible(c)).join(", "));
