import { mark } from "./stateview.js";

// Where the states of the plane end: basins shaded, outlined and marked by what they run to, so
// that they are told apart without colour; hatched where no end was found.

const UNSETTLED = -1;
const NOT_FINITE = -2;
const SHADED = 64; // more ends than this lie on a continuum: to shade them would say nothing
const NAMED = 30;
const SMALL = 0.002; // a share of the plane too small to write into
const HATCH = 12;

const regionsOf = new WeakMap(); // found once for all the frames that show them

/** What an attractor is called: the number of its fixed point in the list, a letter for a cycle. */
export function endNames(attractors, points) {
  let cycles = 0;
  return attractors.map(({ period }, k) => {
    if (period > 1) return String.fromCharCode(97 + (cycles++ % 26));
    const number = points.listed.findIndex(({ attractor }) => attractor === k);
    return number < 0 ? "" : String(number + 1);
  });
}

const perCent = (share) => `${(100 * share).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;

/** How much of the plane runs to a point of the list. */
export function basinShare({ kind, attractor }, basins) {
  if (kind !== "stable" && kind !== "marginal") return attractor < 0 ? "–" : "border";
  return attractor < 0 ? "0 %" : perCent(basins.attractors[attractor].share);
}

/** What the shades mean, which cycles there are, and where no end was found. */
export function basinText({ grid, attractors, count, failed, data }, points) {
  const names = endNames(attractors, points);
  const cycles = attractors.flatMap(({ period, share }, k) => (period > 1
    ? [`${names[k]}: a cycle of ${period} steps (▲), ${perCent(share)} of them.`] : []));
  const blank = [[UNSETTLED, "Hatched: no end found."], [NOT_FINITE, "Crossed: no longer finite."]]
    .flatMap(([label, text]) => (data.includes(label) ? [text] : []));
  const ends = count > SHADED ? `they run to ${count} ends` : count === 1 ? (blank.length ? "one end was found" : "all run to the same end") : `outlined by which of ${count} ends they run to (→)`;
  const meaning = count ? `, ${ends}` : "";
  return [`Basins: ${grid} × ${grid} states of the plane${meaning}.`, ...cycles, ...failed, ...blank].join(" ");
}

/** Each connected region of one label: how many cells, and the cell that is farthest from its border. */
export function regions(labels, grid) {
  const depth = depths(labels, grid);
  const seen = new Uint8Array(labels.length);
  const found = [];
  for (let k = 0; k < labels.length; k++) {
    if (seen[k]) continue;
    seen[k] = 1;
    const region = { label: labels[k], size: 0, cell: [0, 0] };
    let deepest = -1;
    for (const open = [k]; open.length;) {
      const at = open.pop();
      region.size += 1;
      if (depth[at] > deepest) {
        deepest = depth[at];
        region.cell = [at % grid, Math.floor(at / grid)];
      }
      for (const next of beside(at, grid)) {
        if (seen[next] || labels[next] !== region.label) continue;
        seen[next] = 1;
        open.push(next);
      }
    }
    found.push(region);
  }
  return found;
}

const beside = (k, grid) => [
  ...(k % grid ? [k - 1] : []), ...((k + 1) % grid ? [k + 1] : []),
  ...(k >= grid ? [k - grid] : []), ...(k < grid * (grid - 1) ? [k + grid] : []),
];

/** How many cells each lies away from one of another label, or from the edge. */
function depths(labels, grid) {
  const depth = new Int16Array(labels.length);
  const edge = (k) => {
    const around = beside(k, grid);
    return around.length < 4 || around.some((other) => labels[other] !== labels[k]);
  };
  for (let k = 0; k < labels.length; k++) depth[k] = edge(k) ? 0 : Math.min(depth[k - 1], depth[k - grid]) + 1;
  for (let k = labels.length - 1; k >= 0; k--) {
    if (depth[k]) depth[k] = Math.min(depth[k], depth[k + 1] + 1, depth[k + grid] + 1);
  }
  return depth;
}

/** The shades and their borders; `x` and `y` give the pixel of a place. */
export function drawBasins(g, basins, x, y, style, stale) {
  const { grid, window, data, count } = basins;
  const edge = (i, axis) => window[axis] * ((2 * i - 1) / (grid - 1) - 1);
  const left = (i) => Math.round(x([edge(i, 0), 0]));
  const top = (j) => Math.round(y([0, edge(j, 1)])); // the second axis points up: rows end above
  const strength = stale ? 0.5 : 1;
  const blank = { [UNSETTLED]: new Path2D(), [NOT_FINITE]: new Path2D() };
  g.globalAlpha = (style.theme === "dark" ? 0.34 : 0.26) * strength;
  for (let j = 0; j < grid; j++) {
    for (let i = 0, next; i < grid; i = next) {
      const label = data[j * grid + i];
      for (next = i + 1; next < grid && data[j * grid + next] === label; next++);
      const run = [left(i), top(j + 1), left(next) - left(i), top(j) - top(j + 1)];
      if (label < 0) blank[label].rect(...run);
      else if (count <= SHADED) {
        g.fillStyle = mark(label)[0];
        g.fillRect(...run);
      }
    }
  }
  g.globalAlpha = 0.5 * strength;
  g.strokeStyle = style.faint;
  g.lineWidth = 1;
  for (const label of [UNSETTLED, NOT_FINITE]) hatch(g, blank[label], label === NOT_FINITE);
  g.globalAlpha = strength;
  if (count <= SHADED) outline(g, data, grid, left, top, style);
  g.globalAlpha = 1;
}

/** Draw what basins run to, over the arrows: "→ 3" in each region, and the states of the cycles. */
export function drawEnds(g, basins, points, x, y, style) {
  const { grid, window, data, count, attractors } = basins;
  const names = endNames(attractors, points);
  const cycles = attractors.slice(0, NAMED).flatMap(({ period, at }, k) => (period > 1 ? at.map((place) => [k, place]) : []));
  g.font = `600 12px ${style.font}`;
  g.textBaseline = "middle";
  for (const [k, place] of cycles) triangle(g, x(place), y(place), names[k], style);
  if (count > SHADED) return;
  if (!regionsOf.has(basins)) regionsOf.set(basins, regions(data, grid));
  for (const { label, size, cell } of regionsOf.get(basins)) {
    if (!names[label] || size < SMALL * data.length) continue;
    const place = cell.map((i, axis) => window[axis] * (2 * i / (grid - 1) - 1));
    const [across, down] = [x(place), y(place)];
    const near = attractors[label].at.some((p) => Math.hypot(x(p) - across, y(p) - down) < 30);
    if (!near) written(g, `→ ${names[label]}`, across, down, "center", style); // else its mark says so
  }
}

function written(g, text, x, y, align, style) {
  g.textAlign = align;
  g.lineWidth = 3.5;
  g.strokeStyle = style.background;
  g.strokeText(text, x, y);
  g.fillStyle = style.text;
  g.fillText(text, x, y);
}

function triangle(g, x, y, name, style) {
  g.lineWidth = 2;
  g.strokeStyle = style.background;
  g.fillStyle = style.text;
  g.beginPath();
  g.moveTo(x, y - 7);
  g.lineTo(x + 7, y + 5);
  g.lineTo(x - 7, y + 5);
  g.closePath();
  g.stroke();
  g.fill();
  written(g, name, x + 10, y, "left", style);
}

/** Diagonal lines over an area, crossed by others if asked for. */
function hatch(g, area, crossed) {
  const { width, height } = g.canvas;
  const reach = width + height;
  g.save();
  g.clip(area);
  g.beginPath();
  for (let at = 0; at < reach; at += HATCH) {
    g.moveTo(at, 0);
    g.lineTo(at - height, height);
    if (crossed) {
      g.moveTo(at - height, 0);
      g.lineTo(at, height);
    }
  }
  g.stroke();
  g.restore();
}

function outline(g, labels, grid, left, top, style) {
  g.strokeStyle = style.text;
  g.lineWidth = 1.4;
  g.beginPath();
  for (let j = 0; j < grid; j++) {
    for (let i = 0; i < grid; i++) {
      const here = labels[j * grid + i];
      if (i + 1 < grid && labels[j * grid + i + 1] !== here) {
        g.moveTo(left(i + 1), top(j));
        g.lineTo(left(i + 1), top(j + 1));
      }
      if (j + 1 < grid && labels[(j + 1) * grid + i] !== here) {
        g.moveTo(left(i), top(j + 1));
        g.lineTo(left(i + 1), top(j + 1));
      }
    }
  }
  g.stroke();
}
