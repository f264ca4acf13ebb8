import { Store, floats } from "./store.js";

// The wire to the kernel, once a model: what came in is kept here for all views of it.

const LOST = "The kernel does not answer. If it was restarted, run the cell again.";
const PATIENCE = 20000;

export class Link {
  constructor() {
    this.store = new Store();
    this.other = new Store(); // the branch compared with
    this.plane = null;
    this.inspected = null;
    this.lost = null;
    this.views = new Set();
    this.waiting = new Map();
    this.asked = -1000;
    this.next = 1;
  }

  open(model) {
    this.model = model;
    const listen = (message, buffers) => this.hear(message, buffers);
    model.on("msg:custom", listen);
    this.ask();
    return () => {
      model.off("msg:custom", listen);
      this.waiting.forEach(clearTimeout);
      this.views.clear();
    };
  }

  changed() {
    this.views.forEach((view) => view());
  }

  send(action, detail = {}) {
    const id = this.next++;
    const miss = () => {
      this.waiting.delete(id);
      this.lost = LOST;
      this.changed();
    };
    this.waiting.set(id, setTimeout(miss, PATIENCE));
    try {
      this.model.send({ id, action, ...detail });
    } catch {
      clearTimeout(this.waiting.get(id));
      miss();
    }
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
      clearTimeout(this.waiting.get(message.id));
      this.waiting.delete(message.id);
    } else if (message.kind === "rows") {
      if (!this.store.receive(message, floats(buffers))) this.ask();
    } else if (message.kind === "other") {
      this.other = new Store();
      this.other.receive({ ...message, seq: 1, whole: true }, floats(buffers));
    } else if (message.kind === "plane") {
      this.plane = message;
    } else if (message.kind === "inspected") {
      this.inspected = message;
    }
    this.changed();
  }
}
