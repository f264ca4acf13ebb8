import { el, fits } from "./dom.js";
import { helpDialog } from "./help.js";
import { whyEmpty } from "./inputs.js";
import { visible } from "./labels.js";

/** The transport bar: every control a native element with its name, and a key in its tooltip. */
export function transportBar(model, link) {
  const { store } = link;
  const send = (action, detail, then) => link.send(action, detail, then);
  const keys = {};
  const listed = []; // what each key does, for the help
  const keyed = (node, key, name, does = name) => {
    keys[key.toLowerCase()] = node;
    listed.push([key, does]);
    node.ariaKeyShortcuts = key;
    node.title = `${name} (key ${key})`;
    return node;
  };
  const button = (name, key, action, more = {}, does = name) =>
    keyed(el("button", { type: "button", ...more }, { click: action }, name), key, name, does);
  const field = (tag, key, name, properties, listeners, ...children) =>
    keyed(el(tag, { ariaLabel: name, ...properties }, listeners, ...children), key, name, `go to: ${name}`);
  const onEnter = (press) => ({ key }) => { if (key === "Enter") press().click(); };

  const Reset = button("Reset", "R", () => send("reset"), {}, "Reset: a new run from the initial state");
  const Back = button("Back", "B", () => send("back"));
  const Forward = button("Forward", "F", () => send("forward"));
  const Step = button("Step", "S", () => send("step"), { className: "rl-main" });
  const Again = button("Same again", "A", () => send("again"), {}, "Same again: feed the last input once more");
  const running = () => model.get("running");
  const Run = button("Run", "N", () => {
    if (running()) send("pause");
    else if (countFits()) send("run", { steps: count.valueAsNumber });
    else count.focus();
  }, { className: "rl-swap" }, "Run, Stop");
  const count = field("input", "M", "Number of steps to run",
    { type: "number", min: 1, max: 1000000, step: 1, value: 10 },
    { change: () => countFits(), keydown: onEnter(() => Run) });
  const steps = el("span", { className: "rl-group" }, {}, Run, count, "steps");
  const countFits = () => fits(count, undefined, steps);
  const Play = button("Play", "P", () => send(model.get("playing") ? "pause" : "play"),
    { className: "rl-swap" }, "Play, Pause");
  const speed = field("select", "V", "Steps per second", {}, {
    change: () => { model.set("speed", Number(speed.value)); model.save_changes(); },
  }, ...SPEEDS.map((s) => el("option", { value: s }, {}, `${s} / s`)));
  const branches = field("select", "C", "Current branch", {}, {
    change: () => send("checkout", { branch: branches.value }),
  });
  const Branch = button("Branch", "K", () => {
    const typed = name.value;
    send("branch", { name: typed }, () => {
      const wrong = model.get("error"); // a refused name stays, to be mended
      name.ariaInvalid = wrong ? "true" : null;
      if (!wrong && name.value === typed) name.value = "";
    });
  }, {}, "Branch: go on from here in a new one");
  const name = field("input", "T", "Name of the new branch", { type: "text", size: 10, placeholder: "new name" },
    { input: () => { name.ariaInvalid = null; }, keydown: onEnter(() => Branch) });
  const Undo = button("Undo", "U", () => send("undo"));
  const Redo = button("Redo", "Y", () => send("redo"));
  const Save = button("Save", "W", () => send("save"), {}, "Save the session as a file");
  const Export = button("Export", "E", () => send("export"), {}, "Export a page that works without a kernel");
  const help = helpDialog(listed);
  const Help = button("?", "?", () => help(element.closest(".rnnlab")), { ariaLabel: "Keys and mouse" }, "this list");
  Help.title = "Keys and mouse (key ?)";
  const status = el("span", { className: "rl-status" });
  const spoken = el("span", { className: "rl-spoken", role: "status" });
  const speak = politely((text) => { spoken.textContent = text; });
  const progress = el("progress", { className: "rl-run", max: 1, value: 0, hidden: true, ariaLabel: "Progress of the run" });
  // what rests, or is left, gives the focus to the bar itself: letters are still keys there
  const element = el("div", { role: "toolbar", ariaLabel: "Transport", tabIndex: -1 }, {},
    el("div", { className: "rl-bar" }, {},
      Reset, Back, Forward, Step, Again, steps, Play, speed,
      el("span", { className: "rl-group rl-where" }, {}, status, Help), spoken, progress),
    el("div", { className: "rl-bar" }, {},
      el("label", {}, {}, "Branch", branches), el("span", { className: "rl-group" }, {}, Branch, name),
      Undo, Redo, Save, Export));

  const key = (event) => {
    if (event.target.closest("dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
    const to = typing ? event.key === "Escape" && element : keys[event.key.toLowerCase()];
    if (!to) return;
    event.preventDefault();
    event.stopPropagation();
    if (to.tagName !== "BUTTON") {
      to.focus();
      to.select?.();
    } else if (!to.disabled) {
      to.click();
    }
  };

  /** Let a button be pressed unless there is a reason why not, which its tooltip tells. */
  const able = (node, why) => {
    if (why && node === document.activeElement) element.focus();
    node.disabled = Boolean(why);
    node.title = `${node.textContent} (key ${node.ariaKeyShortcuts})${why ? `: ${why}` : ""}`;
  };
  const update = (said) => {
    const { place } = store;
    const playing = model.get("playing");
    const empty = whyEmpty(model.get("feed"), place);
    Run.textContent = running() ? "Stop" : "Run";
    Play.textContent = playing ? "Pause" : "Play";
    able(Back, place.t === 0 && "this is the start");
    able(Forward, place.t >= place.length && "no recorded step follows");
    able(Step, empty);
    able(Again, place.t === 0 && "nothing is fed yet");
    able(Run, !running() && empty);
    able(Play, !playing && empty);
    able(Undo, !place.undo && "nothing to undo");
    able(Redo, !place.redo && "nothing to redo");
    showSpeed(speed, model.get("speed"));
    progress.hidden = !running();
    progress.value = model.get("progress");
    const names = model.get("branches");
    if (branches.dataset.key !== names.join("\n")) {
      branches.dataset.key = names.join("\n");
      branches.replaceChildren(...names.map((n) => el("option", { value: n }, {}, visible(n))));
    }
    branches.value = place.branch;
    if (status.textContent !== said) status.textContent = status.title = said;
    speak(said);
  };
  return { element, update, key, close: speak.stop };
}

const SPEEDS = [1, 2, 5, 10, 30];

/** The speed in the list, also one that was set in Python. */
function showSpeed(select, speed) {
  const value = String(speed);
  if (![...select.options].some((option) => option.value === value)) {
    select.append(el("option", { value }, {}, `${value} / s`));
  }
  select.value = value;
}

const REST = 400;
const LONGEST_SILENCE = 3000;

/** Say the last of what comes in quick succession: when it rests, and else every few seconds. */
export function politely(say, { quiet = REST, patience = LONGEST_SILENCE } = {}) {
  let said = null;
  let latest = null;
  let since = 0;
  let timer = null;
  const speak = (text) => {
    if (text === latest) return;
    latest = text;
    const now = Date.now();
    if (timer === null) since = now;
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      if (latest !== said) say(latest);
      said = latest;
    }, Math.max(0, Math.min(quiet, since + patience - now)));
  };
  speak.stop = () => clearTimeout(timer);
  return speak;
}
