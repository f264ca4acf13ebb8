import { cellsOf, kernelIsBusy, putStill, watchKernel } from "./around.js";
import { Labels } from "./labels.js";
import { Store, floats } from "./store.js";
import { Tiles } from "./tiles.js";

// The wire to the kernel, once a model: what came in is kept here for all views of it.

const LOST = "Disconnected: the kernel was restarted, or has ended. What you see is the last that "
  + "it sent; run the cell again to have it live.";
const CUT = "Disconnected: the server does not answer. The view goes on when it is back.";
const BUSY = "The kernel is busy with something else: it answers when that has ended.";
const PATIENCE = 20000;

export class Link {
  constructor() {
    this.store = this.storeOf("");
    this.other = this.storeOf(""); // the branch compared with
    this.labels = new Labels();
    this.signal = null;
    this.plane = null;
    this.inspected = null;
    this.lost = null;
    this.ended = false;
    this.views = new Set();
    this.waiting = new Map();
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

  changed() {
    this.views.forEach((view) => view());
  }

  /** Send an action; its number, or null if there is nobody to send it to. */
  send(action, detail = {}) {
    const id = this.next++;
    const miss = () => {
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

  settle(id) {
    clearTimeout(this.waiting.get(id));
    this.waiting.delete(id);
    this.store.tiles.settle(id);
    this.other.tiles.settle(id);
  }

  /** Ask for a snapshot, not more often than four times a second. */
  ask() {
    if (performance.now() - this.asked < 250) return;
    this.asked = performance.now();
    this.send("snapshot");
  }

  hear(message, buffers) {
    this.lost = null;
    if (message.kind === "answer") {
      this.settle(message.id);
    } else if (message.kind === "rows") {
      if (this.store.receive(message, ...pair(buffers))) this.labels.take(message);
      else this.ask();
    } else if (message.kind === "tile") {
      const asking = [this.store, this.other].find(({ tiles }) => tiles.asked.has(message.id));
      const lows = floats(buffers);
      asking?.tiles.take(message, lows, buffers.length > 1 ? floats(buffers, 1) : lows);
    } else if (message.kind === "other") {
      this.other = this.storeOf(message.place.branch);
      this.other.receive({ ...message, seq: 1, whole: true }, ...pair(buffers));
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
    }
    this.changed();
  }
}

/** The rows of a message, and row 0 if it brings that too. */
const pair = (buffers) =>
  buffers.length > 1 ? [floats(buffers), floats(buffers, 1)] : [floats(buffers)];
