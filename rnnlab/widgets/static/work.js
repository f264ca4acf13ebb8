import { floats } from "./store.js";

// What the kernel computes at length, by topic. A view asks for it by all that it depends on; two
// views that want the same share it. Asking for something else stops what was asked for before.

const PAUSE = 120; // ms without a new wish until it is sent: a slider is being moved

const NOTHING = { key: "", state: "none", share: 0, error: "", parts: {} };

export class Works {
  constructor(link) {
    this.link = link;
    this.topics = new Map();
    this.timers = new Map();
  }

  get(topic) {
    return this.topics.get(topic) ?? NOTHING;
  }

  /** See to it that what `detail` asks for is computed; `again` also if it was asked for before. */
  want(topic, detail, again = false) {
    const key = JSON.stringify(detail);
    const now = this.get(topic);
    if (now.key === key && !again) return now;
    clearTimeout(this.timers.get(topic));
    const request = Math.random().toString(36).slice(2); // other pages of this kernel hear it too
    const work = { ...NOTHING, key, request, state: "waiting", parts: now.parts };
    this.topics.set(topic, work);
    this.timers.set(topic, setTimeout(() => this.link.send(topic, { request, ...detail }),
      now.key ? PAUSE : 0));
    return work;
  }

  /** Stop what is being computed; what has come of it stays. */
  stop(topic) {
    const work = this.get(topic);
    clearTimeout(this.timers.get(topic));
    if (busy(work)) {
      if (work.state !== "waiting") this.link.send("cancel", { topic });
      work.state = "stopped";
    }
  }

  /** Nobody looks any more: stop, and compute anew when somebody does. */
  leave(topic) {
    const work = this.get(topic);
    if (!busy(work)) return;
    this.stop(topic);
    work.key = "";
  }

  hear(message, buffers) {
    const work = this.get(message.topic);
    if (message.request !== work.request) return;
    if (message.state === "part") {
      work.parts = { ...work.parts, [message.part]: { ...message, data: floats(buffers) } };
    } else if (message.state === "progress") {
      work.share = message.share;
    }
    if (work.state !== "stopped") work.state = message.state === "part" ? "progress" : message.state;
    work.error = message.error ?? "";
  }
}

export const busy = (work) => ["waiting", "started", "progress"].includes(work.state);

/** The part of this name if it belongs to what is asked for now. */
export const current = (work, name) =>
  work.parts[name]?.request === work.request ? work.parts[name] : null;
