// A page without a kernel: the recording answers what the kernel would have answered.

const WINDOW = 8000; // rows that the view is given at once; it asks for others as tiles
const BUCKETS = 256; // of a tile, as in tiles.js
const ASLEEP = "This page is a recording: what changes the run needs the model. "
  + "Open it in JupyterLab for that.";

/** The header with, for every branch, the table of its rows as float32; these begin at `at`. */
export function decode(buffer, head, at) {
  const unpacked = (count, how) => {
    const bytes = new Uint8Array(buffer, at, how.bytes);
    at += how.bytes;
    return head.exact ? exact(bytes, count, head.width)
      : rounded(bytes, count, how.scales, how.differences);
  };
  for (const branch of head.branches) {
    branch.first ??= 0;
    branch.table = unpacked(branch.rows - branch.first, branch);
    if (!branch.history) continue;
    const { buckets } = branch.history;
    const ends = unpacked(2 * buckets, branch.history);
    branch.history.lows = ends.subarray(0, buckets * head.width);
    branch.history.highs = ends.subarray(buckets * head.width);
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

/**
 * The least and the largest value of each unit in the buckets of a tile of a branch: from its rows,
 * or from the coarser buckets that are kept of what lies before them; null where neither has it.
 */
export function tileOf(branch, width, level, index) {
  const size = 2 ** level;
  const start = 1 + index * BUCKETS * size;
  const stop = Math.min(start + BUCKETS * size, branch.rows);
  const { history, first = 0 } = branch;
  const grain = start >= first ? 1 : 2 ** (history?.level ?? Infinity);
  if (start >= stop || size < grain) return null;
  const [lowest, highest, offset] = grain === 1
    ? [branch.table, branch.table, first] : [history.lows, history.highs, 1];
  const count = Math.ceil((stop - start) / size);
  const [lows, highs] = [0, 1].map(() => new Float32Array(count * width).fill(NaN));
  const end = grain === 1 ? stop - first : Math.ceil((stop - 1) / grain);
  for (let k = (start - offset) / grain, b = 0; k < end; k++) {
    b = Math.floor(((k * grain + offset - start)) / size) * width;
    for (let u = 0; u < width; u++) {
      const low = lowest[k * width + u];
      const high = highest[k * width + u];
      if (!(lows[b + u] <= low) && low === low) lows[b + u] = low;
      if (!(highs[b + u] >= high) && high === high) highs[b + u] = high;
    }
  }
  return { stop, lows, highs };
}

/** What the explorer's module takes for its model: traits, events, and a kernel that answers. */
export class Recorded {
  constructor(head) {
    this.head = head;
    this.traits = { ...head.traits, sorts: Object.keys(head.orders), recorded: true, playing: false, running: false, error: "", notice: "" };
    this.listeners = new Map();
    this.branch = head.branches[0];
    this.t = head.t;
    this.seq = 0;
    this.given = null; // the branch whose rows the view has
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

  reply(message, ...tables) {
    this.tell("msg:custom", message,
      tables.map((table) => new DataView(table.buffer, table.byteOffset, table.byteLength)));
  }

  /** Go to a step: the view keeps its rows. */
  go(t) {
    this.t = Math.max(0, Math.min(this.length, Math.round(t)));
    if (this.given !== this.branch) return this.snapshot();
    this.seq += 1;
    this.reply({ kind: "rows", seq: this.seq, start: this.branch.rows, place: this.place });
    return this.tell("place");
  }

  snapshot() {
    const { width } = this.head;
    this.given = this.branch;
    this.seq += 1;
    const [start, ...tables] = this.newest(this.branch);
    const labels = this.branch.labels?.slice(Math.max(start - 1, 0));
    this.reply(
      { kind: "rows", seq: this.seq, start, whole: true, width, place: this.place, labels },
      ...tables,
    );
    this.tell("place");
  }

  /** The newest rows of a branch: the first of them, their table, and row 0. */
  newest({ rows, first = 0, table, initial }) {
    const { width } = this.head;
    const start = Math.max(first, rows - WINDOW);
    const row0 = initial ? Float32Array.from(initial, (v) => v ?? NaN) : table.subarray(0, width);
    return [start, table.subarray((start - first) * width), row0];
  }

  checkout(name) {
    const found = this.head.branches.find((branch) => branch.name === name);
    if (!found) return;
    this.branch = found;
    this.t = Math.min(this.t, this.length);
    this.snapshot();
  }

  compare(names) {
    const known = names.filter((name) => this.head.branches.some((branch) => branch.name === name));
    this.set("compared", known);
  }

  /** The newest rows of another branch. */
  other(name) {
    const other = this.head.branches.find((branch) => branch.name === name);
    if (!other) return;
    const { width } = this.head;
    const [start, ...tables] = this.newest(other);
    const place = { branch: name, t: other.rows - 1, length: other.rows - 1 };
    this.reply({ kind: "other", start, width, place }, ...tables);
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

const QUIET = new Set(["snapshot", "inspect", "other", "tile"]);

Recorded.prototype.actions = {
  snapshot() { this.snapshot(); },
  tile({ id, level, index, branch }) {
    const found = this.head.branches.find(({ name }) => name === branch) ?? this.branch;
    const tile = tileOf(found, this.head.width, level, index);
    if (!tile) return;
    const ends = level ? [tile.lows, tile.highs] : [tile.lows];
    const labels = level ? undefined : found.labels?.slice(index * BUCKETS, tile.stop - 1);
    this.reply({ kind: "tile", id, level, index, stop: tile.stop, labels }, ...ends);
  },
  back() { this.go(this.t - 1); },
  forward() { this.go(this.t + 1); },
  step() { this.go(this.t + 1); },
  run({ steps }) { this.go(this.t + (steps ?? 1)); },
  reset() { this.go(0); },
  rewind({ step }) { this.go(step); },
  play() { this.play(true); },
  pause() { this.play(false); },
  checkout({ branch }) { this.checkout(branch); },
  compare({ branch, on }) {
    const rest = this.get("compared").filter((name) => name !== branch);
    this.compare(on ? [...rest, branch] : rest);
  },
  other({ branch }) { this.other(branch); },
  inspect({ step }) { this.reply({ kind: "inspected", step, branch: this.branch.name, gates: {} }); },
  plane({ name }) {
    if (this.head.planes[name]) this.reply(this.head.planes[name]);
    else this.set("notice", "The recording is too short for a plane.");
  },
  order({ by }) {
    this.set({ orders: this.head.orders[by], ordered_by: by });
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

/** What the page says of itself: what it keeps of the recording. */
export function noteOf(head) {
  const said = ["A recording: look around in it; the model itself is not here."];
  if (!head.exact) {
    said.push("To keep this page small, values are rounded to 1/254 of the range of their band.");
  }
  for (const { name, rows, first, history } of head.branches) {
    if (history) {
      said.push(`Of the ${rows - 1} steps of ${name} those from ${first} on are kept one by one; `
        + `of those before, the least and the largest value in every ${2 ** history.level} steps.`);
    }
  }
  return said.join(" ");
}

/** Unpack the page's recording, load the explorer's own module, and show it. */
export function start(page, widget, head) {
  const model = new Recorded(head);
  const style = page.createElement("style");
  style.textContent = head.css;
  page.head.append(style);
  page.getElementById("note").textContent = noteOf(head);
  const root = page.getElementById("explorer");
  widget.initialize?.({ model });
  widget.render({ model, el: root.appendChild(page.createElement("div")) });
  timeBar(model, page.querySelector(".host-bar"));
  model.compare(head.traits.compared);
  return model;
}
