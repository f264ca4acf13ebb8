import assert from "node:assert/strict";
import { test } from "node:test";
import { cellsOf, kernelIsBusy, putStill, watchKernel } from "../../../rnnlab/widgets/static/around.js";

class Signal {
  slots = new Set();
  connect(slot) { this.slots.add(slot); }
  disconnect(slot) { this.slots.delete(slot); }
  emit(value) { for (const slot of this.slots) slot(null, value); }
}

function host() {
  const listeners = new Map();
  const kernel = { status: "idle", statusChanged: new Signal(), connectionStatusChanged: new Signal() };
  return { kernel, listeners, model: {
    widget_manager: { kernel },
    on: (name, f) => listeners.set(name, f),
    off: (name) => listeners.delete(name),
  } };
}

test("a kernel that ends, and a wire that is cut, are heard of without a click", () => {
  const { model, kernel, listeners } = host();
  const heard = [];
  const stop = watchKernel(model, Object.fromEntries(["ended", "cut", "back"]
    .map((what) => [what, () => heard.push(what)])));
  for (const status of ["busy", "idle", "unknown", "starting"]) kernel.statusChanged.emit(status);
  assert.deepEqual(heard, []);
  kernel.statusChanged.emit("restarting");
  kernel.statusChanged.emit("dead");
  kernel.connectionStatusChanged.emit("connecting");
  assert.deepEqual(heard, ["ended", "ended", "cut"]);
  kernel.connectionStatusChanged.emit("connected");
  listeners.get("comm_live_update")();
  assert.deepEqual(heard.slice(3), ["back", "back"]);
  stop();
  kernel.statusChanged.emit("dead");
  kernel.connectionStatusChanged.emit("connected");
  assert.equal(heard.length, 5);
  assert.equal(listeners.size, 0);
});

test("a host that lends nothing is no error", () => {
  const model = { on() {}, off() {} };
  watchKernel(model, { ended() {}, cut() {}, back() {} })();
  assert.equal(kernelIsBusy(model), false);
  assert.equal(cellsOf(model), undefined);
});

test("the still is put beneath the views of its own widget, and nowhere else", () => {
  const view = (id) => ({ data: { "application/vnd.jupyter.widget-view+json": { model_id: id } } });
  const html = (text) => ({ output_type: "display_data", metadata: { m: 1 }, data: { "text/html": text } });
  const cell = (...outputs) => ({ outputs: {
    length: outputs.length,
    get: (i) => ({ data: outputs[i].data, toJSON: () => outputs[i] }),
    set: (i, value) => { outputs[i] = value; },
    all: outputs,
  } });
  const cells = [{}, cell(view("mine"), html('<div class="rnnlab-still">old</div>'), html("other")),
    cell(view("yours"), html("rnnlab-still")), cell(html("rnnlab-still"), view("mine")),
    cell(view("mine"), html("rnnlab-still too"))];
  const list = { length: cells.length, get: (i) => cells[i] };
  const data = { "text/html": "new" };
  assert.equal(putStill(list, { widget: "mine", data }), 2);
  assert.deepEqual(cells[1].outputs.all[1], { output_type: "display_data", metadata: { m: 1 }, data });
  assert.deepEqual(cells[2].outputs.all[1].data, { "text/html": "rnnlab-still" });
  assert.deepEqual(cells[4].outputs.all[1].data, data);
});
