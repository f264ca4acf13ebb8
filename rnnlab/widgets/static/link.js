import { cellsOf, kernelIsBusy, putStill, watchKernel } from "./around.js";
import { Labels } from "./labels.js";
import { Store, floats } from "./store.js";
import { BUCKETS, Tiles } from "./tiles.js";
import { Works } from "./work.js";

// The wire to the kernel, once a model: what came in is kept here for all views of it.

const LOST = "Disconnected: the kernel was restarted, or has ended. What you see is the last that "
  + "it sent; run the cell again to have it live.";
const CUT = "Disconnected: the server does not answer. The view goes on when it is back.";
const BUSY = "The kernel is busy with something else: it answers when that has ended.";
const PATIENCE = 20000;

export class Link {
  constructor() {
    this.store = this.storeOf("");
    this.others = new Map(); // the branches compared with
    this.labels = new Labels();
    this.signal = null;
    this.works = new Works(this);
    this.found = null;
    this.plane = null;
    this.inspected = null;
    this.lost = null;
    this.ended = false;
    this.views = new Set();
    this.waiting = new Map();
    this.answered = new Map();
    this.asked = -1000;
    this.next = 1;
  }

  /** A store whose tiles are asked for from here: of a branch, or of the current one. */
  storeOf(branch) {
    return new Store(new Tiles((wanted) => this.send("tile", { ...wanted, branch })));
  }

  open(model) {
    this.model = model;
    const listen = (message, buffers) => this.hear(message, buffers);
    model.on("msg:custom", listen);
    const release = watchKernel(model, {
      ended: () => { this.ended = true; this.say(LOST); },
      cut: () => this.say(this.ended ? LOST : CUT),
      back: () => { if (!this.ended) this.send("snapshot"); },
    });
    this.ask();
    // where the page can put the still into the document itself, it does: also after a reload
    if (cellsOf(model)) this.send("keep");
    return () => {
      release();
      model.off("msg:custom", listen);
      this.waiting.forEach(clearTimeout);
      this.views.clear();
    };
  }

  /** Say why nothing comes from the kernel. */
  say(why) {
    this.lost = why;
    this.changed();
  }

  /** The recordings of the branches compared with, as far as they are here; others are asked for. */
  compared() {
    const { place, width } = this.store;
    return this.model.get("compared").filter((name) => name !== place.branch).flatMap((name) => {
      const store = this.others.get(name);
      if (!store) {
        this.others.set(name, this.storeOf(name));
        this.send("other", { branch: name });
      }
      return store?.count && store.width === width ? [[name, store]] : [];
    });
  }

  /** Views draw in the next frame; `now`: at once, if they have not drawn since the last one. */
  changed(now = false) {
    this.views.forEach((view) => view(now));
  }

  /** Send an action; its number, or null if there is nobody to send it to. `then` hears the answer. */
  send(action, detail = {}, then = null) {
    const id = this.next++;
    if (then) this.answered.set(id, then);
    const miss = () => {
      this.answered.delete(id);
      this.settle(id);
      this.say(kernelIsBusy(this.model) ? BUSY : LOST);
    };
    this.waiting.set(id, setTimeout(miss, PATIENCE));
    try {
      this.model.send({ id, action, ...detail });
    } catch {
      miss();
      return null;
    }
    return id;
  }

  /** An action was answered; whether a tile that was asked for did not come with it. */
  settle(id) {
    clearTimeout(this.waiting.get(id));
    this.waiting.delete(id);
    return [this.store, ...this.others.values()].map(({ tiles }) => tiles.settle(id)).some(Boolean);
  }

  /** Ask for a snapshot, not more often than four times a second. */
  ask() {
    if (performance.now() - this.asked < 250) return;
    this.asked = performance.now();
    this.send("snapshot");
  }

  hear(message, buffers) {
    const back = this.lost !== null;
    this.lost = null;
    if (message.kind === "answer") {
      this.answered.get(message.id)?.();
      this.answered.delete(message.id);
      if (!this.settle(message.id) && !back) return; // nothing to see
    } else if (message.kind === "rows") {
      if (this.store.receive(message, ...pair(buffers))) this.labels.take(message);
      else this.ask();
      this.others.delete(this.store.place.branch); // it may grow: asked for anew when it is another
    } else if (message.kind === "tile") {
      const asking = [this.store, ...this.others.values()].find(({ tiles }) => tiles.asked.has(message.id));
      const lows = floats(buffers);
      asking?.tiles.take(message, lows, buffers.length > 1 ? floats(buffers, 1) : lows);
      if (asking === this.store) this.labels.put(1 + message.index * BUCKETS, message.labels);
    } else if (message.kind === "other") {
      const other = this.storeOf(message.place.branch);
      other.receive({ ...message, seq: 1, whole: true }, ...pair(buffers));
      this.others.set(message.place.branch, other);
    } else if (message.kind === "still") {
      const cells = cellsOf(this.model);
      if (cells) putStill(cells, message);
      return;
    } else if (message.kind === "plane") {
      this.plane = message;
    } else if (message.kind === "signal") {
      this.signal = { ...message, number: this.next++ };
    } else if (message.kind === "inspected") {
      this.inspected = message;
    } else if (message.kind === "work") {
      this.works.hear(message, buffers);
    } else if (message.kind === "found") {
      this.found = message;
    }
    this.changed(message.kind === "rows");
  }
}

/** The rows of a message, and row 0 if it brings that too. */
const pair = (buffers) =>
  buffers.length > 1 ? [floats(buffers), floats(buffers, 1)] : [floats(buffers)];
