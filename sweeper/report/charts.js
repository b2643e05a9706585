"use strict";
// Charts by Plotly: inflated and started when the first one comes into view. Each has its numbers as a table below.

const STATES = { complete: "circle", pruned: "x", failed: "triangle-down", running: "circle-open", waiting: "circle-open" };
const MOST_NUMBERS = 400;
const TOOLBAR = 34; // pixels above the plot, for Plotly's buttons

let plotlyStarted = null;

function plotly() {
  plotlyStarted ??= (async () => {
    const source = new TextDecoder().decode(await inflate(byId("plotly").textContent));
    document.head.append(el("script", {}, source));
    return window.Plotly;
  })();
  return plotlyStarted;
}

function layout(changes) {
  const axis = { gridcolor: color("line"), zerolinecolor: color("line"), linecolor: color("line"), automargin: true };
  const narrow = innerWidth < 560;
  const { xaxis, yaxis, ...rest } = changes;
  return {
    font: { family: "system-ui, sans-serif", size: narrow ? 11 : 12.5, color: color("ink") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 50, r: 16, t: TOOLBAR, b: 46 }, hovermode: "closest", dragmode: narrow ? false : "zoom",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hoverlabel: { bgcolor: color("raised"), bordercolor: color("line"), font: { color: color("ink") } },
    ...rest, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
  };
}

/** Ticks of an axis that counts something: none between two whole numbers. */
function ticksOfWhole(span) {
  return span <= 12 ? { tick0: 0, dtick: 1, tickformat: ",d" } : { tickformat: ",d" };
}

const MOST_LOG_TICKS = 5;

/** Ticks of a logarithmic axis: powers of ten, and 2 and 5 between them where that leaves few. */
function logTicks(values) {
  const numbers = values.filter((number) => number > 0);
  const [low, high] = [Math.min(...numbers) / 1.2, Math.max(...numbers) * 1.2];
  const decades = Array.from({ length: Math.max(0, Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1) }, (_, place) => Math.floor(Math.log10(low)) + place);
  const within = (steps) => decades.flatMap((power) => steps.map((step) => Number(`${step}e${power}`))).filter((tick) => tick >= low && tick <= high);
  const fine = within([1, 2, 5]);
  const tickvals = fine.length <= MOST_LOG_TICKS ? fine : within([1]);
  return tickvals.length ? { tickvals, ticktext: tickvals.map(short) } : {};
}

/** Show a chart. `describe` returns { data, layout } and is asked again after a change; `onPick` gets the customdata. */
function chart(node, describe, onPick) {
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", node.dataset.alt || "chart");
  let bound = false;
  const redraw = whenSeen(node, async () => {
    const drawn = await plotly();
    const described = describe();
    const options = { responsive: true, displaylogo: false, displayModeBar: innerWidth < 560 ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
    const height = node.clientHeight - 4; // or the title of the lower axis touches the border
    const paper = isPrinting() ? { width: node.clientWidth - 2 } : {};
    await drawn.react(node, described.data, layout({ ...described.layout, height, ...paper }), options);
    if (onPick && !bound) {
      bound = true;
      node.on("plotly_click", (event) => event.points[0]?.customdata != null && onPick(event.points[0].customdata));
    }
  });
  numbersBelow(node, describe);
  return redraw;
}

/** Let the numbers of a chart be read without seeing it. */
function numbersBelow(node, describe) {
  const details = el("details", { class: "hint" }, el("summary", {}, "Numbers"));
  details.addEventListener("toggle", () => {
    details.querySelector("div")?.remove();
    if (details.open) details.append(numbersTable(describe()));
  });
  node.after(details);
}

function numbersTable({ data, layout: named }) {
  const points = data.flatMap((trace) => [...(trace.y || [])].map((y, place) => [trace.name || "", trace.x[place], y]));
  const given = points.filter(([, x, y]) => x != null && y != null);
  const head = ["series", named.xaxis?.title?.text || "x", named.yaxis?.title?.text || "y"];
  const rows = given.slice(0, MOST_NUMBERS).map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, short(cell)))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers of the chart" },
    el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { style: "padding:.3em .8em" }, name)))),
      el("tbody", {}, ...rows)), given.length > MOST_NUMBERS ? `the first ${MOST_NUMBERS} of ${given.length}` : "");
}

/** One trace of points for each state of trials, so that states look alike in all charts. */
function byState(trials, x, y, more = {}) {
  return ["complete", "pruned", "failed"].map((state) => {
    const some = trials.filter((trial) => trial.state === state && x(trial) != null && y(trial) != null);
    return {
      type: "scatter", mode: "markers", name: state, x: some.map(x), y: some.map(y), customdata: some.map((trial) => trial.number),
      text: some.map((trial) => `trial ${trial.number}`), hovertemplate: "%{text}<br>%{x}<br>%{y}<extra></extra>",
      marker: { color: color(state), symbol: STATES[state], size: 7, opacity: 0.8 }, ...more,
    };
  }).filter((trace) => trace.x.length);
}
