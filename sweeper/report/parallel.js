"use strict";
// Parallel coordinates on a canvas: one line a trial through its parameters to its objective.

const MOST_AXES = 14;
const LETTER = 7; // pixels of a letter of a name, about
const GAP = 96; // pixels between two axes, at least
const RAMP = [[253, 200, 40], [240, 120, 70], [190, 50, 120], [110, 20, 160], [60, 10, 130]]; // worst to best
const RAMP_DARK = [[120, 110, 60], [200, 120, 60], [225, 90, 130], [190, 130, 250], [170, 200, 255]];

function rampColor(share, alpha) {
  const ramp = isDark() ? RAMP_DARK : RAMP;
  const place = Math.min(share, 0.9999) * (ramp.length - 1), low = Math.floor(place), part = place - low;
  const mixed = ramp[low].map((value, channel) => Math.round(value + part * (ramp[low + 1][channel] - value)));
  return `rgba(${mixed.join(",")},${alpha})`;
}

/** Return where a value stands on an axis, from 0 (bottom) to 1, and the labels of both ends or of all categories. */
function axisOf(param, trials, value) {
  if (param.kind === "category") {
    const step = 1 / Math.max(param.values.length - 1, 1);
    return { place: (trial) => param.values.indexOf(String(value(trial))) * step, labels: param.values.map((name, i) => [i * step, name]) };
  }
  const numbers = trials.map(value).filter((number) => number != null);
  const scale = param.log ? Math.log : (number) => number;
  const low = Math.min(...numbers), high = Math.max(...numbers), span = scale(high) - scale(low) || 1;
  return { place: (trial) => (scale(value(trial)) - scale(low)) / span, labels: [[0, short(low)], [1, short(high)]] };
}

function parallelAxes(trials) {
  const { params, importances, metric } = page.data;
  const weight = (param) => importances[param.name] ?? 0;
  const drawn = params.filter((param) => trials.some((trial) => trial.params[param.name] != null));
  const chosen = drawn.sort((a, b) => weight(b) - weight(a)).slice(0, MOST_AXES);
  const axes = chosen.map((param) => ({ name: param.name, value: (trial) => trial.params[param.name], ...axisOf(param, trials, (trial) => trial.params[param.name]) }));
  const value = (trial) => trial.value;
  return [...axes, { name: metric, value, ...axisOf({ kind: "number", log: false }, trials, value) }];
}

/** Draw the lines of trials, the worst first, so that the best lie on top. */
function drawParallel(canvas, trials, selected) {
  const scored = trials.filter((trial) => trial.value != null);
  const axes = scored.length ? parallelAxes(scored) : [];
  const inside = canvas.parentElement.clientWidth - 2, letters = isPrinting() ? 10 : 15;
  const width = isPrinting() ? inside : Math.max(inside, axes.length * GAP), height = 340;
  const [top, bottom, side] = [46, height - 30, 52];
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio; canvas.height = height * ratio;
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  canvas.setAttribute("aria-label", `Parallel coordinates of ${scored.length} trials over ${axes.map((axis) => axis.name).join(", ")}`);
  const brush = canvas.getContext("2d");
  brush.scale(ratio, ratio);
  const gap = (width - 2 * side) / Math.max(axes.length - 1, 1);
  const x = (place) => side + place * gap;
  const y = (share) => bottom - share * (bottom - top);
  const sign = page.data.maximize ? 1 : -1;
  const ordered = [...scored].sort((a, b) => sign * (a.value - b.value));
  const best = new Map(ordered.map((trial, place) => [trial.number, place / Math.max(ordered.length - 1, 1)]));
  for (const trial of ordered) line(trial, rampColor(best.get(trial.number), Math.max(0.25, Math.min(0.8, 60 / ordered.length))), 1.3);
  const own = scored.find((trial) => trial.number === selected);
  if (own) line(own, color("ink"), 3);
  axes.forEach(drawAxis);

  function line(trial, style, thick) {
    brush.beginPath();
    brush.strokeStyle = style; brush.lineWidth = thick;
    brush.setLineDash(trial.state === "pruned" ? [5, 3] : []);
    let begun = false;
    axes.forEach((axis, place) => {
      if (axis.value(trial) == null) return; // a parameter of another branch
      brush[begun ? "lineTo" : "moveTo"](x(place), y(axis.place(trial)));
      begun = true;
    });
    brush.stroke();
  }
  function drawAxis(axis, place) {
    brush.setLineDash([]); brush.strokeStyle = color("faint"); brush.lineWidth = 1;
    brush.beginPath(); brush.moveTo(x(place), top); brush.lineTo(x(place), bottom); brush.stroke();
    brush.font = "12px system-ui, sans-serif"; brush.textAlign = "center"; brush.fillStyle = color("ink");
    // On two lines in turns, so that each name has the width of two gaps; the outer ones begin or end at the edge.
    const room = place === 0 || place === axes.length - 1 ? gap + side : 2 * gap;
    const title = fitted(axis.name, Math.max(letters, Math.floor(room / LETTER))), half = brush.measureText(title).width / 2;
    brush.fillText(title, Math.max(half, Math.min(width - half, x(place))), 15 + (place % 2) * 15);
    brush.font = "11px system-ui, sans-serif";
    for (const [share, text] of axis.labels) {
      const name = fitted(text, letters - 1), wide = brush.measureText(name).width;
      const below = y(share) + (share === 0 ? 14 : share === 1 ? -5 : 4);
      brush.fillStyle = color("paper"); brush.globalAlpha = 0.75;
      brush.fillRect(x(place) - wide / 2 - 2, below - 10, wide + 4, 13);
      brush.globalAlpha = 1; brush.fillStyle = color("faint");
      brush.fillText(name, x(place), below);
    }
  }
}

/** Shorten a name in its middle: names of one branch begin alike, and parameters of one kind end alike. */
function fitted(text, most) {
  const name = String(text), end = Math.floor((most - 1) / 2);
  return name.length > most ? `${name.slice(0, most - 1 - end)}…${name.slice(-end)}` : name;
}
