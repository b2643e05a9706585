"use strict";
// The report of one study: puts the parts together and keeps them in step with the filter and the trial that is open.

const MOST_PICTURED = 12; // of the images in a cell of the matrix

(() => {
  const { data } = page;
  const sign = data.maximize ? 1 : -1;
  for (const param of data.params) if (param.kind === "category") param.values = param.values.map(String);
  const trials = data.trials;
  const byNumber = new Map(trials.map((trial) => [trial.number, trial]));
  const ranked = trials.filter((trial) => trial.rank != null).sort((a, b) => a.rank - b.rank);
  const winner = byNumber.get(data.winner) ?? ranked[0];
  let shown = trials, selected = winner?.number ?? null;
  const redraws = [];

  const redrawAll = settled(() => redraws.forEach((redraw) => redraw()));
  const better = (a, b) => sign * (a - b) > 0;

  function overview() {
    const leader = ranked.find((trial) => trial.state === "complete"), best = byNumber.get(data.winner) ?? leader;
    const { states, seconds } = data.all;
    byId("headline").textContent = best
      ? `Trial ${best.number} is best: ${data.metric} ${score(best.value)} ${reachedIn(best)}, with ${describe(best)}.`
      : data.budget == null || data.all.ended < data.budget ? "No trial has finished yet." : "No trial has finished.";
    byId("tiles").append(tile(leader ? score(leader.value) : "–", `best ${data.metric}`), tile(data.budget == null ? data.all.ended : `${data.all.ended} of ${data.budget}`, "trials ended"),
      ...["complete", "pruned", "failed"].map((state) => tile(states[state], state)), tile(duration(seconds), "of training in all"));
  }
  function reachedIn(trial) {
    return trial.folds.length ? trial.reachedIn : `${trial.reachedIn} of ${trial.epochs}`;
  }
  function describe(trial) {
    return Object.entries(trial.params).map(([name, value]) => `${name} ${short(value)}`).join(", ");
  }

  // The table and its filter.
  const opener = (trial) => el("button", { type: "button", onclick: () => { select(trial.number); byId("trial").scrollIntoView(); byId("trial-select").focus({ preventScroll: true }); },
    "aria-label": `open trial ${trial.number}` }, trial.number);
  /** What the best trial has stands where no scrolling is needed; the branches that it did not take come after. */
  function paramsOfBestFirst() {
    const has = (param) => ranked[0]?.params[param.name] != null;
    return [...data.params].sort((a, b) => has(b) - has(a));
  }
  const basic = [
    { title: "rank", number: true, value: (trial) => trial.rank },
    { title: "trial", number: true, value: (trial) => trial.number, cell: opener },
    { title: "state", value: (trial) => trial.state, cell: (trial) => el("span", { class: `state ${trial.state}` }, trial.state) },
    { title: data.metric, number: true, value: (trial) => trial.value, cell: (trial) => score(trial.value) },
    data.step === "fold" ? { title: "± folds", number: true, value: (trial) => trial.spread, cell: (trial) => score(trial.spread) } : { title: "best epoch", number: true, value: (trial) => trial.bestEpoch },
    { title: `${data.step}s`, number: true, value: (trial) => trial.epochs },
    { title: "time", number: true, value: (trial) => trial.seconds, cell: (trial) => duration(trial.seconds) },
    ...paramsOfBestFirst().map((param) => ({ title: param.name, number: param.numeric, value: (trial) => trial.params[param.name] })),
  ];
  const names = (key) => [...new Set(trials.flatMap((trial) => Object.keys(trial[key])))];
  const further = [
    ...names("scores").filter((name) => name !== data.metric).map((name) => ({ title: name, number: true, value: (trial) => trial.scores[name], cell: (trial) => score(trial.scores[name]) })),
    ...names("costs").filter((name) => name !== "training seconds").map((name) => ({ title: name, number: true, value: (trial) => trial.costs[name] })),
    { title: "reason", wide: true, value: (trial) => trial.reason || null },
  ];
  let table = null;
  function buildTable() {
    const columns = byId("brief").checked ? basic : [...basic, ...further];
    table = sortableTable(byId("table"), columns, shown, { mark: (trial) => trial.number === selected, more: byId("more") });
  }
  function found() {
    const here = data.all.trials > trials.length ? `${trials.length} shown of ${data.all.trials} trials` : `${trials.length} trials`;
    return shown.length === trials.length ? here : `${shown.length} of ${here}`;
  }
  function filter() {
    const keep = rowFilter(byId("filter").value, [...basic, ...further]);
    shown = trials.filter(keep);
    byId("found").textContent = found();
    table.rows = shown;
    table.show();
    redrawAll();
  }

  // Charts of the search.
  function risesOf(ended) {
    const steps = [];
    for (const trial of ended) {
      if (trial.state === "complete" && trial.rank != null && (!steps.length || better(trial.value, steps.at(-1)[1]))) steps.push([trial.place, trial.value]);
    }
    return steps;
  }
  function history() {
    const ended = shown.filter((trial) => trial.place != null).sort((a, b) => a.place - b.place);
    const steps = shown.length === trials.length ? [...data.all.steps] : risesOf(ended);
    if (steps.length) steps.push([data.all.ended, steps.at(-1)[1]]);
    const line = { type: "scatter", mode: "lines", name: "best so far", x: steps.map(([x]) => x), y: steps.map(([, y]) => y), line: { shape: "hv", color: color("good"), width: 2 }, hoverinfo: "skip" };
    return { data: [...byState(ended, (trial) => trial.place, (trial) => trial.value), line],
      layout: { xaxis: { title: { text: "trials ended" }, ...ticksOfWhole(data.all.ended) }, yaxis: { title: { text: data.metric } } } };
  }
  function importance() {
    const found = Object.entries(data.importances).sort((a, b) => a[1] - b[1]);
    return { data: [{ type: "bar", orientation: "h", name: "importance", x: found.map(([, value]) => value), y: found.map(([name]) => name), marker: { color: color("accent") }, hovertemplate: "%{y}: %{x:.3f}<extra></extra>" }],
      layout: { xaxis: { title: { text: "share of the importance" } }, yaxis: { title: { text: "" } } } };
  }
  function scaleOf(param) {
    if (param.kind !== "number") return { type: "category", categoryorder: "array", categoryarray: param.values };
    if (param.log) return { type: "log", ...logTicks(trials.map((trial) => trial.params[param.name])) };
    return { type: "linear", nticks: 6, ...(param.whole ? wholeTicks(param) : {}) };
  }
  function wholeTicks(param) {
    const numbers = trials.map((trial) => trial.params[param.name]).filter((number) => number != null);
    return ticksOfWhole(Math.max(...numbers) - Math.min(...numbers));
  }
  function slice(param) {
    const value = (trial) => (trial.params[param.name] == null ? null : param.kind === "number" ? trial.params[param.name] : String(trial.params[param.name]));
    return { data: byState(shown, value, (trial) => trial.value),
      layout: { showlegend: false, margin: { l: 46, r: 8, t: TOOLBAR, b: 40 }, xaxis: { title: { text: fitted(param.name, 40) }, ...scaleOf(param) }, yaxis: { title: { text: "" } } } };
  }
  function parameters() {
    if (Object.keys(data.importances).length) {
      byId("importance").style.height = `${Math.max(14, 4 + 1.7 * Object.keys(data.importances).length)}em`;
      chart(byId("importance"), importance);
    } else {
      byId("importance").replaceWith(el("p", { class: "notice" }, "Too few finished trials to tell which parameters matter: at least 8 are needed."));
    }
    const weight = (param) => data.importances[param.name] ?? 0;
    for (const param of [...data.params].sort((a, b) => weight(b) - weight(a))) {
      const node = el("div", { class: "chart", "data-alt": `${data.metric} by ${param.name}` });
      byId("slices").append(el("div", {}, node));
      redraws.push(chart(node, () => slice(param), select));
    }
    if (!data.params.length) byId("slices").append(el("p", { class: "notice" }, "The search space searches no parameter."));
  }

  // Learning curves: one trace a state, its trials parted by gaps, so that hundreds of them stay quick.
  function curves() {
    const metric = byId("curve-metric").value || "objective";
    const traces = ["complete", "pruned", "failed", "running"].map((state) => {
      const x = [], y = [], about = [];
      for (const trial of shown.filter((one) => one.state === state && one.number !== selected)) {
        (trial.curves[metric] ?? []).forEach((value, place) => { x.push(place + 1); y.push(value); about.push(trial.number); });
        x.push(null); y.push(null); about.push(null);
      }
      return { type: "scatter", mode: "lines+markers", name: state, x, y, customdata: about, connectgaps: false, opacity: 0.55, line: { color: color(state === "running" ? "faint" : state), width: 1.1, dash: state === "pruned" ? "dot" : "solid" },
        marker: { size: 3 }, hovertemplate: `trial %{customdata}, ${data.step} %{x}: %{y}<extra></extra>` };
    }).filter((trace) => trace.x.length);
    const cut = shown.filter((trial) => trial.state === "pruned" && trial.curves[metric]?.length);
    traces.push({ type: "scatter", mode: "markers", name: "pruned here", x: cut.map((trial) => trial.curves[metric].length), y: cut.map((trial) => trial.curves[metric].at(-1)),
      customdata: cut.map((trial) => trial.number), marker: { symbol: "x", size: 8, color: color("pruned") }, hovertemplate: `trial %{customdata} pruned after ${data.step} %{x}: %{y}<extra></extra>` });
    const own = byNumber.get(selected);
    const line = own?.curves[metric] ?? [];
    if (line.length) traces.push({ type: "scatter", mode: "lines+markers", name: `trial ${selected}`, x: line.map((_, place) => place + 1), y: line, customdata: line.map(() => selected), line: { color: color("ink"), width: 3 }, marker: { size: 6 }, hovertemplate: `trial ${selected}, ${data.step} %{x}: %{y}<extra></extra>` });
    return { data: traces, layout: { xaxis: { title: { text: data.step === "fold" ? "folds so far, whose mean is shown" : "epoch" }, ...ticksOfWhole(data.steps) }, yaxis: { title: { text: metric === "objective" ? data.metric : metric } } } };
  }

  // Cost.
  function front(cost) {
    const less = !cost.includes("a second");
    const ended = shown.filter((trial) => trial.state === "complete" && trial.rank != null && trial.costs[cost] != null);
    const ordered = ended.sort((a, b) => (less ? 1 : -1) * (a.costs[cost] - b.costs[cost]) || sign * (b.value - a.value));
    const kept = [];
    for (const trial of ordered) if (!kept.length || better(trial.value, kept.at(-1).value)) kept.push(trial);
    return kept;
  }
  function pareto() {
    const cost = byId("cost-axis").value, kept = front(cost);
    const among = data.all.trials > trials.length ? `Among the ${trials.length} trials shown, on the front:` : "On the front:";
    byId("front").textContent = kept.length ? `${among} ${kept.map((trial) => `trial ${trial.number} (${score(trial.value)} at ${short(trial.costs[cost])})`).join(", ")}.` : "";
    const line = { type: "scatter", mode: "lines+markers", name: "Pareto front", x: kept.map((trial) => trial.costs[cost]), y: kept.map((trial) => trial.value), customdata: kept.map((trial) => trial.number),
      line: { shape: "hv", color: color("good"), width: 2 }, marker: { size: 11, symbol: "circle-open", color: color("good"), line: { width: 2 } }, hovertemplate: "trial %{customdata}<br>%{x}<br>%{y}<extra></extra>" };
    return { data: [...byState(shown, (trial) => trial.costs[cost], (trial) => trial.value), line], layout: { xaxis: { title: { text: cost } }, yaxis: { title: { text: data.metric } } } };
  }
  function times() {
    const spent = ["complete", "pruned", "failed"].map((state) => {
      const some = shown.filter((trial) => trial.state === state && trial.seconds != null);
      return { type: "bar", name: state, x: some.map((trial) => trial.number), y: some.map((trial) => trial.seconds), customdata: some.map((trial) => trial.number), marker: { color: color(state) }, hovertemplate: "trial %{x}: %{y:.1f} s<extra></extra>" };
    }).filter((trace) => trace.x.length);
    return { data: spent, layout: { barmode: "stack", bargap: 0.1, xaxis: { title: { text: "trial" }, ...ticksOfWhole(trials.length) }, yaxis: { title: { text: "training seconds" } } } };
  }
  function costTiles() {
    const { seconds, lost, saved } = data.all;
    byId("cost-tiles").append(tile(duration(seconds), "trained"), tile(duration(saved), "saved by pruning, at each trial's pace"), tile(duration(lost), "lost to failed trials"));
    if (data.price != null) byId("cost-tiles").append(tile(((seconds / 3600) * data.price).toFixed(2), `at ${data.price} an hour`));
    const costs = names("costs").sort((a, b) => (b === "training seconds") - (a === "training seconds"));
    byId("cost-axis").append(...costs.map((name) => el("option", { value: name }, name)));
  }

  // One trial.
  function select(number) {
    if (!byNumber.has(number)) return;
    selected = number;
    byId("trial-select").value = String(number);
    table.show();
    redrawAll();
    openTrial(byNumber.get(number));
  }
  async function openTrial(trial) {
    byId("trial-is").textContent = `${trial.state}${trial.rank ? `, rank ${trial.rank}` : ""}${trial.run ? `, MLflow run ${trial.run}` : ""}`;
    const told = data.images.trials[trial.number];
    const body = el("div", {}, el("div", { class: "tiles" }, tile(score(trial.value), data.metric), ...Object.entries(trial.scores).filter(([name]) => name !== data.metric).map(([name, value]) => tile(score(value), name)),
      ...(told ? [tile(percent(told.error), "calibration error (ECE)")] : []), tile(duration(trial.seconds), `${trial.epochs} of ${data.steps} ${data.step}s`),
      ...trial.folds.map((value, place) => tile(score(value), `fold ${place + 1}`))));
    if (trial.reason) body.append(el("p", { class: "notice" }, trial.reason));
    body.append(el("details", {}, el("summary", {}, "Parameters that were searched"), el("dl", {}, ...Object.entries(trial.params).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, short(value))]))));
    const seen = await matrixOf(trial, told);
    if (selected !== trial.number) return; // another one has been opened meanwhile
    if (seen) body.append(...confusionPart(seen), ...(told ? [calibrationPart(told)] : []), ...(told && seen.predicted ? [mistakesPart(told, seen)] : []), classPart(seen));
    else body.append(el("p", { class: "notice" }, told ? "Its predictions are in MLflow only: this file holds those of the leaders, up to 8 MB." : "There are no predictions of this trial: it has not finished an epoch, has failed, or is no classifier."));
    byId("trial-body").replaceChildren(body);
  }
  async function matrixOf(trial, told) {
    const count = data.classes.length;
    if (told?.off) {
      const { labels, names: files } = await imageFacts();
      const predicted = await predictedBy(told.off, count);
      return { labels, files, predicted, cells: countCells(labels, predicted, count) };
    }
    const triples = data.confusions[trial.number];
    if (!triples) return null;
    const cells = new Int32Array(count * count);
    for (const [a, b, images] of triples) cells[a * count + b] = images;
    return { cells };
  }
  function confusionPart(seen) {
    const { classes } = data, count = classes.length;
    const shelf = el("div", { class: "pictures" });
    const title = el("p", { class: "hint", role: "status" }, seen.predicted ? "Choose a pair, or a cell of the matrix, to see its images." : "");
    function pick(a, b) {
      if (!seen.predicted) return;
      const images = [];
      seen.labels.forEach((label, image) => label === a && seen.predicted[image] === b && images.push(image));
      const those = images.length > MOST_PICTURED ? `, of which ${MOST_PICTURED} are shown` : "";
      title.textContent = `${images.length} image${images.length === 1 ? "" : "s"} of ${classes[a]} taken for ${classes[b]}${those}`;
      shelf.replaceChildren(...picturedFirst(images, MOST_PICTURED).map((image) => figure(image, seen.files[image], classes[a], el("span", { class: a === b ? "right" : "wrong" }, `→ ${classes[b]}`))));
    }
    const matrix = matrixView(classes, seen.cells, { onPick: pick, describe: (a, b, images, total) => `${images} of ${total} images of ${classes[a]} (${percent(images / total)}) ${a === b ? "recognised" : `taken for ${classes[b]}`}` });
    const pairs = [];
    seen.cells.forEach((images, cell) => { const [a, b] = [Math.floor(cell / count), cell % count]; if (images && a !== b) pairs.push([images, a, b]); });
    pairs.sort((a, b) => b[0] - a[0]);
    const list = el("ol", { class: "pairs" }, ...pairs.slice(0, 30).map(([images, a, b]) => el("li", {}, el("button", { type: "button", onclick: () => { matrix.goTo(a, b); pick(a, b); } }, el("span", {}, `${classes[a]} → ${classes[b]}`), el("b", {}, images)))));
    if (pairs.length) pick(pairs[0][1], pairs[0][2]);
    return [el("h3", {}, "Confusion matrix"), el("div", { class: "pair" }, matrix.node, el("div", {}, el("h3", { style: "margin-top:.3em" }, "Most confused: true → predicted"), list)), title, shelf];
  }
  function calibrationPart(told) {
    const [counts, confidence, accuracy] = told.bins;
    const used = counts.map((count, bin) => [count, confidence[bin], accuracy[bin]]).filter(([count]) => count);
    const reliability = el("div", { class: "chart", "data-alt": "Share of right predictions by confidence" });
    const spread = el("div", { class: "chart", "data-alt": "Number of images by confidence" });
    const part = el("div", {}, el("h3", {}, "Calibration"), el("p", { class: "hint" }, `Expected calibration error ${percent(told.error, 2)}. Below the diagonal the model is surer than it may be. An export is calibrated: its card has the error before and after.`),
      el("div", { class: "pair" }, el("div", {}, reliability), el("div", {}, spread)));
    chart(reliability, () => ({ data: [
      { type: "scatter", mode: "lines", name: "perfect", x: [0, 1], y: [0, 1], line: { color: color("faint"), dash: "dash", width: 1 }, hoverinfo: "skip" },
      { type: "scatter", mode: "lines+markers", name: "this trial", x: used.map(([, x]) => x), y: used.map(([, , y]) => y), text: used.map(([count]) => `${count} images`), line: { color: color("accent") }, hovertemplate: "confidence %{x:.2f}, right %{y:.2f}, %{text}<extra></extra>" }],
      layout: { xaxis: { title: { text: "confidence" }, range: [0, 1] }, yaxis: { title: { text: "share that is right" }, range: [0, 1.02] } } }));
    chart(spread, () => ({ data: [{ type: "bar", name: "images", x: counts.map((_, bin) => (bin + 0.5) / counts.length), y: counts, marker: { color: color("accent") }, hovertemplate: "confidence about %{x:.2f}: %{y} images<extra></extra>" }],
      layout: { bargap: 0.05, xaxis: { title: { text: "confidence" }, range: [0, 1] }, yaxis: { title: { text: "images" } } } }));
    return part;
  }
  function mistakesPart(told, seen) {
    const { classes } = data;
    const shown = told.worst.map(([image, sure, own]) => figure(image, seen.files[image], el("span", { class: "wrong" }, `${classes[seen.predicted[image]]} ${percent(sure, 0)}`), `is ${classes[seen.labels[image]]} ${percent(own, 0)}`));
    return el("div", {}, el("h3", {}, "Worst mistakes"), el("p", { class: "hint" }, "Wrong predictions, the surest first, with their probability and that of the true class. Several of one kind may be wrong labels."), el("div", { class: "pictures" }, ...shown));
  }
  function classPart(seen) {
    const node = el("table"), more = el("button", { type: "button", class: "quiet", hidden: true });
    sortableTable(node, CLASS_COLUMNS, classScores(data.classes, seen.cells), { by: 3, more });
    return el("div", {}, el("h3", {}, "Classes"), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores of each class" }, node), more);
  }

  /** How the backbones were ranked before the search, beside what the search found. */
  function ranking() {
    byId("ranking").hidden = !data.ranking;
    if (!data.ranking) return;
    byId("ranking-told").textContent = data.ranking.told;
    sortableTable(byId("ranking-table"), [
      { title: "rank", number: true, value: (row) => row.place },
      { title: "backbone", value: (row) => row.name },
      { title: `${data.metric} of a head`, number: true, value: (row) => row.head, cell: (row) => score(row.head) },
      { title: "trials", number: true, value: (row) => row.trials, cell: (row) => (row.searched ? row.trials : "left out") },
      { title: `best ${data.metric}`, number: true, value: (row) => row.best, cell: (row) => score(row.best) },
    ], data.ranking.backbones);
  }
  function start() {
    startTheme();
    overview();
    buildTable();
    byId("found").textContent = found();
    byId("filter").addEventListener("input", settled(filter));
    byId("brief").addEventListener("change", () => { buildTable(); filter(); });
    redraws.push(chart(byId("history"), history, select));
    const canvas = byId("parallel");
    const shareOf = () => {
      const share = Number(byId("share").value) / 100;
      byId("share-is").textContent = percent(share, 0);
      const scored = shown.filter((trial) => trial.value != null).sort((a, b) => sign * (b.value - a.value));
      drawParallel(canvas, scored.slice(0, Math.ceil(share * scored.length)), selected);
    };
    redraws.push(whenSeen(canvas, shareOf));
    byId("share").addEventListener("input", shareOf);
    addEventListener("resize", settled(() => canvas.width && shareOf()));
    ranking();
    parameters();
    const metrics = [...new Set(trials.flatMap((trial) => Object.keys(trial.curves)))].sort((a, b) => (b === "objective") - (a === "objective"));
    byId("curve-metric").append(...metrics.map((name) => el("option", { value: name }, name === "objective" ? data.metric : name)));
    const redrawCurves = chart(byId("curve-chart"), curves, select);
    byId("curve-metric").addEventListener("change", redrawCurves);
    redraws.push(redrawCurves);
    costTiles();
    const redrawPareto = chart(byId("pareto"), pareto, select);
    byId("cost-axis").addEventListener("change", redrawPareto);
    redraws.push(redrawPareto, chart(byId("time"), times, select));
    const list = [...ranked, ...trials.filter((trial) => trial.rank == null)];
    byId("trial-select").append(...list.map((trial) => el("option", { value: trial.number }, `${trial.number}: ${score(trial.value)} ${trial.state}`)));
    byId("trial-select").addEventListener("change", (event) => select(Number(event.target.value)));
    if (selected != null) whenOpened();
  }
  /** Open the best trial once the rest is drawn, or sooner where it is seen or printed; its matrix is inflated only then. */
  function whenOpened() {
    byId("trial-select").value = String(selected);
    let opened = false;
    const open = () => {
      if (!opened && !byId("trial-body").hasChildNodes()) openTrial(byNumber.get(selected));
      opened = true;
    };
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && open(), { rootMargin: "400px" }).observe(byId("trial"));
    addEventListener("beforeprint", open);
    if (window.requestIdleCallback) requestIdleCallback(open, { timeout: 2000 });
    else setTimeout(open, 1000);
  }
  start();
})();
