// What the page around the view lends, where it is JupyterLab or a notebook made of its parts: the
// kernel's condition, and the document. Elsewhere there is none of it, and the view does without.

const ENDED = ["restarting", "autorestarting", "terminating", "dead"];

/**
 * Call `ended` when the kernel is gone, and with it what the view belongs to; `cut` when it cannot
 * be reached, `back` when that may have changed. How to stop.
 */
export function watchKernel(model, { ended, cut, back }) {
  const kernel = model.widget_manager?.kernel;
  const onStatus = (_, status) => { if (ENDED.includes(status)) ended(); };
  const onConnection = (_, status) => (status === "connected" ? back() : cut());
  // a manager that knows no kernel still tells its models when their wire is cut
  model.on("comm_live_update", back);
  kernel?.statusChanged?.connect(onStatus);
  kernel?.connectionStatusChanged?.connect(onConnection);
  return () => {
    model.off("comm_live_update", back);
    kernel?.statusChanged?.disconnect(onStatus);
    kernel?.connectionStatusChanged?.disconnect(onConnection);
  };
}

/** Whether the kernel works on something else. */
export const kernelIsBusy = (model) => model.widget_manager?.kernel?.status === "busy";

/** The cells of the document, if the page lets a view see them. */
export const cellsOf = (model) => model.widget_manager?.context?.model?.cells;

/**
 * Put a new still beneath every view of a widget: `data` in the place of the output that follows
 * the widget's. How many there were.
 */
export function putStill(cells, { widget, data }) {
  let found = 0;
  for (let c = 0; c < cells.length; c++) {
    const { outputs } = cells.get(c);
    for (let i = 1; i < (outputs?.length ?? 0); i++) {
      const view = outputs.get(i - 1).data["application/vnd.jupyter.widget-view+json"];
      const still = outputs.get(i).toJSON();
      if (view?.model_id !== widget || !isStill(still)) continue;
      outputs.set(i, { ...still, data });
      found += 1;
    }
  }
  return found;
}

const isStill = (output) => String(output.data?.["text/html"] ?? "").includes("rnnlab-still");
