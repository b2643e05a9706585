"use strict";
// The difference of two models: what changed from A to B.

(() => {
  const { data } = page;
  const signed = (value, digits = 4) => (value == null ? "–" : `${value > 0 ? "+" : ""}${value.toFixed(digits)}`);
  const less = (row) => (row[1] == null || row[2] == null ? null : row[2] - row[1]);
  const colored = (value, up = true) => el("span", { class: value ? (value > 0 === up ? "right" : "wrong") : null }, signed(value));

  function headline() {
    const { test } = data;
    if (!test) { byId("headline").textContent = `Not compared image by image: ${data.whyNot}.`; return; }
    const sure = test.p < 0.05 ? "unlikely to be chance" : "may well be chance";
    byId("headline").textContent = `Of ${data.images.count} images B gets ${test.gained} right that A does not, and ${test.lost} wrong that A gets right: ${sure} (McNemar's exact test, p = ${test.p < 0.001 ? test.p.toExponential(1) : test.p.toFixed(3)}).${test.relabelled ? ` ${test.relabelled} images whose class is another one in B are left out.` : ""}`;
    byId("tiles").append(tile(test.gained, "newly right"), tile(test.lost, "newly wrong"), tile(test.bothRight, "right in both"), tile(test.bothWrong, "wrong in both"), tile(test.p < 0.001 ? test.p.toExponential(1) : test.p.toFixed(3), "p-value, McNemar"));
  }
  function tables() {
    sortableTable(byId("score-table"), [
      { title: "score", value: (row) => row[0] },
      { title: "A", number: true, value: (row) => row[1], cell: (row) => score(row[1]) },
      { title: "B", number: true, value: (row) => row[2], cell: (row) => score(row[2]) },
      { title: "change", number: true, value: less, cell: (row) => colored(less(row), !row[0].endsWith("loss")) },
    ], data.scores);
    const plain = (value) => (value != null && typeof value === "object" ? JSON.stringify(value) : short(value));
    sortableTable(byId("param-table"), [
      { title: "parameter", value: (row) => row[0] },
      { title: "A", value: (row) => plain(row[1]) }, { title: "B", value: (row) => plain(row[2]) },
    ], data.params);
  }
  function curves() {
    const names = [...new Set(data.curves.flatMap(Object.keys))];
    byId("curve-metric").append(...names.map((name) => el("option", { value: name }, name)));
    const redraw = chart(byId("curve-chart"), () => {
      const metric = byId("curve-metric").value;
      const traces = data.curves.map((curve, place) => ({ type: "scatter", mode: "lines+markers", name: `${"AB"[place]}: ${data.names[place]}`, x: (curve[metric] ?? []).map((_, epoch) => epoch + 1), y: curve[metric] ?? [],
        line: { color: color(place ? "accent" : "pruned"), width: 2, dash: place ? "solid" : "dash" }, hovertemplate: "epoch %{x}: %{y}<extra></extra>" }));
      return { data: traces, layout: { xaxis: { title: { text: "epoch" }, dtick: Math.max(...data.curves.map((curve) => curve[metric]?.length ?? 0)) <= 12 ? 1 : undefined }, yaxis: { title: { text: metric } } } };
    });
    byId("curve-metric").addEventListener("change", redraw);
    if (!names.length) byId("curves").hidden = true;
  }
  function classes(before, after) {
    const rows = before.map((row, place) => ({ name: row.name, support: row.support, recall: row.recall, now: after[place].recall, f1: row.f1, f1Now: after[place].f1 }));
    sortableTable(byId("class-table"), [
      { title: "class", value: (row) => row.name },
      { title: "images", number: true, value: (row) => row.support },
      { title: "recall A", number: true, value: (row) => row.recall, cell: (row) => score(row.recall) },
      { title: "recall B", number: true, value: (row) => row.now, cell: (row) => score(row.now) },
      { title: "change", number: true, value: (row) => row.now - row.recall, cell: (row) => colored(row.now - row.recall) },
      { title: "F1 A", number: true, value: (row) => row.f1, cell: (row) => score(row.f1) },
      { title: "F1 B", number: true, value: (row) => row.f1Now, cell: (row) => score(row.f1Now) },
      { title: "F1 change", number: true, value: (row) => row.f1Now - row.f1, cell: (row) => colored(row.f1Now - row.f1) },
    ], rows, { by: 4, more: byId("more") });
  }
  async function images() {
    const count = data.classes.length, names = data.classes;
    const { labels, names: files } = await imageFacts();
    const [first, second] = await Promise.all(data.images.off.map((off) => predictedBy(off, count)));
    const cells = countCells(labels, second, count);
    const before = countCells(labels, first, count);
    classes(classScores(names, before), classScores(names, cells));
    const change = cells.map((images, cell) => images - before[cell]);

    const show = (title, chosen) => {
      byId("shown").textContent = title;
      byId("shelf").replaceChildren(...picturedFirst(chosen, 60).map((image) => figure(image, files[image], `is ${names[labels[image]]}`,
        el("span", { class: first[image] === labels[image] ? "right" : "wrong" }, `A: ${names[first[image]]}`), el("span", { class: second[image] === labels[image] ? "right" : "wrong" }, `B: ${names[second[image]]}`))));
    };
    const all = [...labels.keys()];
    const pick = (one, other) => {
      const moved = all.filter((image) => labels[image] === one && (first[image] === other) !== (second[image] === other));
      show(`${moved.length} images of ${names[one]} that only one of both takes for ${names[other]}`, moved);
      for (const id of ["gained", "lost"]) byId(id).setAttribute("aria-pressed", "false");
    };
    const matrix = matrixView(names, change, { signed: true, onPick: (one, other) => { pick(one, other); byId("images").scrollIntoView(); },
      describe: (one, other, images) => `${signed(images, 0)} images of ${names[one]} ${one === other ? "recognised" : `taken for ${names[other]}`}: ${before[one * count + other]} by A, ${cells[one * count + other]} by B` });
    byId("matrix").append(matrix.node);
    const largest = [...change.keys()].filter((cell) => change[cell]).sort((x, y) => Math.abs(change[y]) - Math.abs(change[x])).slice(0, 30);
    byId("pairs").append(...largest.map((cell) => {
      const [one, other] = [Math.floor(cell / count), cell % count];
      return el("li", {}, el("button", { type: "button", onclick: () => { matrix.goTo(one, other); pick(one, other); } }, el("span", {}, `${names[one]} → ${names[other]}`), el("b", { class: (one === other) === change[cell] > 0 ? "right" : "wrong" }, signed(change[cell], 0))));
    }));
    const groups = { gained: all.filter((image) => first[image] !== labels[image] && second[image] === labels[image]),
      lost: all.filter((image) => first[image] === labels[image] && second[image] !== labels[image]) };
    const open = (kind) => {
      for (const id of ["gained", "lost"]) byId(id).setAttribute("aria-pressed", String(id === kind));
      show(kind === "gained" ? "Wrong by A, right by B" : "Right by A, wrong by B", groups[kind]);
    };
    byId("gained").textContent = `${groups.gained.length} newly right`;
    byId("lost").textContent = `${groups.lost.length} newly wrong`;
    for (const id of ["gained", "lost"]) byId(id).addEventListener("click", () => open(id));
    open("gained");
  }
  startTheme();
  headline();
  tables();
  curves();
  if (data.images) images();
  else for (const id of ["classes", "confusion", "images"]) byId(id).hidden = true;
})();
