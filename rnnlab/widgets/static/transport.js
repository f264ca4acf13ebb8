import { el } from "./dom.js";
import { exhausted } from "./inputs.js";

/** The transport bar: every control a native element with its name, and a key in its tooltip. */
export function transportBar(model, link) {
  const { store } = link;
  const send = (action, detail) => link.send(action, detail);
  const button = (name, key, action, more = {}) =>
    el("button", { type: "button", title: `${name} (key ${key})`, ariaKeyShortcuts: key, ...more },
      { click: action }, name);
  const count = el("input", {
    type: "number", min: 1, max: 1000000, value: 10, ariaLabel: "Number of steps to run",
  });
  const stepsToRun = () => Math.max(1, Math.round(Number(count.value)) || 1);
  const running = () => model.get("running");
  const Reset = button("Reset", "R", () => send("reset"));
  const Back = button("Back", "B", () => send("back"));
  const Forward = button("Forward", "F", () => send("forward"));
  const Step = button("Step", "S", () => send("step"), { className: "rl-main" });
  const Again = button("Same again", "A", () => send("again"));
  const Run = button("Run", "N", () => send(running() ? "pause" : "run", { steps: stepsToRun() }));
  const Play = button("Play", "P", () => send(model.get("playing") ? "pause" : "play"));
  const Undo = button("Undo", "U", () => send("undo"));
  const Redo = button("Redo", "Y", () => send("redo"));
  const name = el("input", { type: "text", size: 10, ariaLabel: "Name of the new branch",
    placeholder: "new name" });
  const Branch = button("Branch", "K", () => { send("branch", { name: name.value }); name.value = ""; });
  const Save = button("Save", "W", () => send("save"));
  const Export = button("Export", "E", () => send("export"));
  const branches = el("select", { ariaLabel: "Current branch" }, {
    change: () => send("checkout", { branch: branches.value }),
  });
  const speed = el("select", { ariaLabel: "Steps per second" }, {
    change: () => { model.set("speed", Number(speed.value)); model.save_changes(); },
  }, ...SPEEDS.map((s) => el("option", { value: s }, {}, `${s} / s`)));
  const status = el("span", { className: "rl-status" });
  const spoken = el("span", { className: "rl-spoken", role: "status" });
  const speak = politely((text) => { spoken.textContent = text; });
  const progress = el("progress", { max: 1, value: 0, hidden: true, ariaLabel: "Progress of the run" });
  const element = el("div", { role: "toolbar", ariaLabel: "Transport" }, {},
    el("div", { className: "rl-bar" }, {},
      Reset, Back, Forward, Step, Again, el("span", { className: "rl-group" }, {}, Run, count, "steps"),
      Play, speed, progress, status, spoken),
    el("div", { className: "rl-bar" }, {},
      el("label", {}, {}, "Branch", branches), el("span", { className: "rl-group" }, {}, Branch, name),
      Undo, Redo, Save, Export));

  const keys = { r: Reset, b: Back, f: Forward, s: Step, a: Again, n: Run, p: Play, u: Undo, y: Redo,
    k: Branch, w: Save, e: Export };
  const key = (event) => {
    const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
    const pressed = keys[event.key.toLowerCase()];
    if (!pressed || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (!pressed.disabled) pressed.click();
  };

  const update = (said) => {
    const { place } = store;
    const feed = model.get("feed");
    const playing = model.get("playing");
    const empty = exhausted(feed, place);
    Back.disabled = place.t === 0;
    Forward.disabled = place.t >= place.length;
    Step.disabled = empty;
    Again.disabled = place.t === 0;
    Run.disabled = empty && !running();
    Run.textContent = running() ? "Stop" : "Run";
    Run.title = `${running() ? "Stop" : "Run"} (key N)`;
    Play.disabled = empty && !playing;
    Play.textContent = playing ? "Pause" : "Play";
    Play.title = `${playing ? "Pause" : "Play"} (key P)`;
    showSpeed(speed, model.get("speed"));
    progress.hidden = !running();
    progress.value = model.get("progress");
    const names = model.get("branches");
    if (branches.dataset.key !== names.join("\n")) {
      branches.dataset.key = names.join("\n");
      branches.replaceChildren(...names.map((n) => el("option", { value: n }, {}, n)));
    }
    branches.value = place.branch;
    if (status.textContent !== said) status.textContent = said;
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
