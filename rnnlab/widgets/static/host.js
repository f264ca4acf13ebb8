// A page without a kernel: the recording answers what the kernel would have answered.

const WINDOW = 8000; // rows that the view is given at once: as many as its store keeps
const ASLEEP = "This page is a recording: what changes the run needs the model. "
  + "Open it in JupyterLab for that.";

/** The bytes that a page holds as base64 of gzip. */
export async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** The header and, for every branch, the table of its rows as float32. */
export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const branch of head.branches) {
    const bytes = new Uint8Array(buffer, at, branch.bytes);
    branch.table = head.exact
      ? exact(bytes, branch.rows, head.width)
      : rounded(bytes, branch.rows, branch.scales, branch.differences);
    at += branch.bytes;
  }
  return head;
}

/** float32 rows from numbers stored unit by unit, the first bytes of all before the second. */
export function exact(bytes, rows, width) {
  const table = new Float32Array(rows * width);
  const view = new Uint8Array(table.buffer);
  const count = rows * width;
  for (let u = 0; u < width; u++) {
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < 4; k++) view[4 * (r * width + u) + k] = bytes[k * count + u * rows + r];
    }
  }
  return table;
}

/** float32 rows from levels, one byte a number, stored unit by unit; 255 stands for none. */
export function rounded(bytes, rows, scales, differences) {
  const width = scales.reduce((sum, scale) => sum + scale.units, 0);
  const table = new Float32Array(rows * width);
  let u = 0;
  for (const { units, low, step } of scales) {
    for (const stop = u + units; u < stop; u++) {
      let level = 0;
      for (let r = 0; r < rows; r++) {
        const byte = bytes[u * rows + r];
        level = differences ? (level + byte) & 255 : byte;
        // the middle of a signed scale is zero, exactly
        const value = low < 0 ? (level - 127) * step : level * step;
        table[r * width + u] = level === 255 ? NaN : value;
      }
    }
  }
  return table;
}

/** What the explorer's module takes for its model: traits, events, and a kernel that answers. */
export class Recorded {
  constructor(head) {
    this.head = head;
    this.traits = { ...head.traits, recorded: true, playing: false, running: false, error: "", notice: "" };
    this.listeners = new Map();
    this.branch = head.branches[0];
    this.t = head.t;
    this.seq = 0;
    this.held = null;
    this.timer = null;
  }

  get length() {
    return this.branch.rows - 1;
  }

  get place() {
    return { branch: this.branch.name, t: this.t, length: this.length, position: null };
  }

  get(name) {
    return this.traits[name];
  }

  set(name, value) {
    const changes = typeof name === "object" ? name : { [name]: value };
    for (const [key, to] of Object.entries(changes)) {
      this.traits[key] = to;
      this.tell(`change:${key}`, this, to);
    }
    this.tell("change", this);
  }

  save_changes() {}

  on(names, listener) {
    for (const name of names.split(" ")) {
      if (!this.listeners.has(name)) this.listeners.set(name, new Set());
      this.listeners.get(name).add(listener);
    }
  }

  off(names, listener) {
    for (const name of names ? names.split(" ") : [...this.listeners.keys()]) {
      if (listener) this.listeners.get(name)?.delete(listener);
      else this.listeners.delete(name);
    }
  }

  tell(name, ...details) {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(...details);
  }

  /** Answer what the view asks, as a kernel does: later, and by messages. */
  send(content) {
    queueMicrotask(() => {
      const act = this.actions[content.action];
      if (act) act.call(this, content);
      else this.set("error", ASLEEP);
      if (act && !QUIET.has(content.action) && this.get("error")) this.set("error", "");
      this.reply({ kind: "answer", id: content.id });
    });
  }

  reply(message, table) {
    this.tell("msg:custom", message, table ? [new DataView(table.buffer, table.byteOffset, table.byteLength)] : []);
  }

  /** Go to a step: the view keeps its rows, unless the step lies outside of them. */
  go(t) {
    this.t = Math.max(0, Math.min(this.length, Math.round(t)));
    if (!this.held || this.t < this.held[0] || this.t >= this.held[1]) return this.snapshot();
    this.seq += 1;
    this.reply({ kind: "rows", seq: this.seq, start: this.held[1], place: this.place });
    return this.tell("place");
  }

  snapshot() {
    const { rows, table } = this.branch;
    const { width } = this.head;
    const first = Math.max(0, Math.min(rows - WINDOW, this.t - WINDOW / 2));
    this.held = [first, Math.min(rows, first + WINDOW)];
    this.seq += 1;
    this.reply(
      { kind: "rows", seq: this.seq, start: first, whole: true, width, place: this.place },
      table.subarray(first * width, this.held[1] * width),
    );
    this.tell("place");
  }

  checkout(name) {
    const found = this.head.branches.find((branch) => branch.name === name);
    if (!found) return;
    this.branch = found;
    this.t = Math.min(this.t, this.length);
    this.snapshot();
  }

  compare(name) {
    const other = this.head.branches.find((branch) => branch.name === name);
    if (other) {
      const start = Math.max(0, other.rows - WINDOW);
      const { width } = this.head;
      const place = { branch: name, t: other.rows - 1, length: other.rows - 1 };
      this.reply({ kind: "other", start, width, place }, other.table.subarray(start * width));
    }
    this.set("compared", other ? name : "");
  }

  play(on) {
    clearTimeout(this.timer);
    if (on && this.t >= this.length) this.go(0);
    this.set("playing", on);
    const next = () => {
      this.go(this.t + 1);
      if (this.t >= this.length) this.set("playing", false);
      else this.timer = setTimeout(next, 1000 / this.get("speed"));
    };
    if (on) this.timer = setTimeout(next, 1000 / this.get("speed"));
  }
}

const QUIET = new Set(["snapshot", "inspect"]);

Recorded.prototype.actions = {
  snapshot() { this.snapshot(); },
  back() { this.go(this.t - 1); },
  forward() { this.go(this.t + 1); },
  step() { this.go(this.t + 1); },
  run({ steps }) { this.go(this.t + (steps ?? 1)); },
  reset() { this.go(0); },
  rewind({ step }) { this.go(step); },
  play() { this.play(true); },
  pause() { this.play(false); },
  checkout({ branch }) { this.checkout(branch); },
  compare({ branch }) { this.compare(branch); },
  inspect({ step }) { this.reply({ kind: "inspected", step, branch: this.branch.name, gates: {} }); },
  plane({ name }) {
    if (this.head.planes[name]) this.reply(this.head.planes[name]);
    else this.set("notice", "The recording is too short for a plane.");
  },
  order({ by }) {
    if (by in this.head.orders) this.set({ orders: this.head.orders[by], ordered_by: by });
    else this.set("notice", `The recording has no order by ${by}.`);
  },
};

/** The page's own controls: play, a step back and forward, the slider, the branch. */
export function timeBar(model, bar) {
  const make = (tag, properties, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };
  const button = (name, act) => make("button", { type: "button", onclick: act }, name);
  const back = button("Back", () => model.go(model.t - 1));
  const forward = button("Forward", () => model.go(model.t + 1));
  const play = button("Play", () => model.play(!model.get("playing")));
  const slider = make("input", { type: "range", min: 0, step: 1, ariaLabel: "Time" });
  slider.oninput = () => model.go(Number(slider.value));
  const speed = make("select", { ariaLabel: "Steps per second" },
    ...[1, 2, 5, 10, 30].map((n) => make("option", { value: n }, `${n} / s`)));
  speed.onchange = () => model.set("speed", Number(speed.value));
  const names = model.head.branches.map((branch) => branch.name);
  const branch = make("select", { ariaLabel: "Branch" },
    ...names.map((name) => make("option", { value: name }, name)));
  branch.onchange = () => model.checkout(branch.value);
  const said = make("output", { ariaLive: "polite" });
  bar.append(back, play, forward, speed, slider, ...(names.length > 1 ? [branch] : []), said);
  bar.hidden = false;
  const update = () => {
    slider.max = model.length;
    slider.value = model.t;
    back.disabled = model.t === 0;
    forward.disabled = model.t === model.length;
    play.textContent = model.get("playing") ? "Pause" : "Play";
    play.disabled = model.length === 0;
    speed.value = String(model.get("speed"));
    branch.value = model.branch.name;
    const text = `step ${model.t} of ${model.length} · branch ${model.branch.name}`;
    slider.ariaValueText = text;
    if (said.textContent !== text) said.textContent = text;
  };
  model.on("place change", update);
  update();
}

/** Unpack the page's recording, load the explorer's own module, and show it. */
export async function start(page) {
  const head = decode(await unpack(page.getElementById("data").textContent));
  const model = new Recorded(head);
  const style = page.createElement("style");
  style.textContent = head.css;
  page.head.append(style);
  page.getElementById("note").textContent = head.exact
    ? "A recording: look around in it; the model itself is not here."
    : "A recording: look around in it; the model itself is not here. To keep this page small, "
      + "values are rounded to 1/254 of the range of their band.";
  const source = URL.createObjectURL(new Blob([head.module], { type: "text/javascript" }));
  const widget = (await import(source)).default();
  URL.revokeObjectURL(source);
  const root = page.getElementById("explorer");
  widget.initialize?.({ model });
  widget.render({ model, el: root.appendChild(page.createElement("div")) });
  timeBar(model, page.querySelector(".host-bar"));
  if (head.traits.compared) model.compare(head.traits.compared);
  return model;
}
