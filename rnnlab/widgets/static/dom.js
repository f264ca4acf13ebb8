const FOCUSED = new Set(["button", "canvas", "dialog", "input", "select", "summary", "textarea"]);

/** An element with properties, listeners and children; text is always inserted as text. */
export function el(tag, properties = {}, listeners = {}, ...children) {
  const node = document.createElement(tag);
  // what has the focus must itself keep JupyterLab's shortcuts off: on a parent it is too late, for
  // they are looked up from the focused element upwards
  if (FOCUSED.has(tag) || "tabIndex" in properties) node.dataset.lmSuppressShortcuts = "true";
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(listeners)) node.addEventListener(name, listener);
  node.append(...children);
  return node;
}

/** Whether the page is "dark" or "light" around a node of the explorer. */
export function themeOf(node) {
  const css = getComputedStyle(node.closest(".rnnlab") ?? node).backgroundColor;
  const [r, g, b] = (css.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b < 128 ? "dark" : "light";
}

/** Let Enter take what is typed in the number and text fields of a node, as leaving them does. */
export function takeOnEnter(node) {
  node.addEventListener("keydown", ({ key, target }) => {
    if (key === "Enter" && target.matches('input[type="number"], input[type="text"]')) {
      target.dispatchEvent(new Event("change"));
    }
  });
}

/** A number as a field shows it: what float32 tells, no more. */
export const plain = (value) => String(Number(Number(value).toPrecision(7)));

/** What a number field takes, in words, if what it holds is something else; else "". */
export function wanted({ value, validity, step, min, max }) {
  if (value !== "" && validity.valid) return "";
  const range = max !== "" ? ` from ${min} to ${max}` : min !== "" ? `, ${min} or more` : "";
  return `${step === "any" ? "A" : "A whole"} number${range}, please.`;
}

const notes = new WeakMap();

/** Mark a field as wrong, with a sentence beside it (or beside `near`), or with "" as right; whether it is. */
export function fits(field, wrong = wanted(field), near = field) {
  let note = notes.get(field);
  if (wrong && !note) {
    notes.set(field, note = el("span", { className: "rl-wrong", role: "alert" }));
    near.after(note);
  }
  if (note && note.textContent !== wrong) note.textContent = wrong;
  field.ariaInvalid = wrong ? "true" : null;
  return !wrong;
}

/** Put a text into a field; what was wrong there is gone. */
export function putIn(field, text) {
  field.value = field.dataset.was = text;
  fits(field, "");
}

/** Bring a field up to date, unless somebody types there or has left there what it does not take. */
export function showIn(field, text, typing = document.activeElement === field) {
  if (!typing && !(field.ariaInvalid === "true" && field.dataset.was === text)) putIn(field, text);
}

/** A list in which one or more features are chosen, and what was chosen last. */
export function featureChoice(names, choose) {
  const list = el("select", { multiple: true, size: Math.min(4, names.length), ariaLabel: "Features" }, {
    change: () => choose([...list.selectedOptions].map((option) => Number(option.value))),
  }, ...names.map((name, i) => el("option", { value: i }, {}, name)));
  const label = el("label", { hidden: names.length < 2 }, {}, "Features", list);
  const show = (chosen) => {
    if (document.activeElement === list) return;
    for (const option of list.options) option.selected = chosen.includes(Number(option.value));
  };
  return { label, show };
}
