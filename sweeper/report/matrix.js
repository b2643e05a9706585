"use strict";
// A confusion matrix on a canvas: readable at 200 classes by zoom, by its order of classes and by a cursor that keys move.

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Put classes that are confused next to each other: from the worst pair on, always the one most confused with the last. */
function togetherOrder(cells, count) {
  const both = (a, b) => Math.abs(cells[a * count + b]) + Math.abs(cells[b * count + a]);
  const left = new Set(Array.from({ length: count }, (_, i) => i));
  let last = 0, most = -1;
  for (let a = 0; a < count; a++) for (let b = a + 1; b < count; b++) if (both(a, b) > most) { most = both(a, b); last = a; }
  const order = [];
  while (left.size) {
    order.push(last); left.delete(last);
    let next = null, weight = -1;
    for (const other of left) if (both(last, other) > weight) { weight = both(last, other); next = other; }
    last = next;
  }
  return order;
}

/** The classes in the data set's order, those with most mistakes first, or those that are confused together. */
function classOrder(kind, cells, count) {
  const all = Array.from({ length: count }, (_, i) => i);
  if (kind === "together") return togetherOrder(cells, count);
  if (kind !== "errors") return all;
  const wrong = all.map((a) => all.reduce((sum, b) => sum + (a === b ? 0 : Math.abs(cells[a * count + b])), 0));
  return all.sort((a, b) => wrong[b] - wrong[a]);
}

/** Show a matrix of counts [true * C + predicted]; signed for a difference of two. `onPick(true, predicted)`. */
function matrixView(classes, cells, { signed = false, onPick, describe }) {
  const count = classes.length;
  const canvas = el("canvas", { class: "matrix", tabindex: "0", role: "application", "aria-roledescription": "confusion matrix",
    "aria-label": `Confusion matrix of ${count} classes. Arrow keys move the cursor, plus and minus zoom, Enter shows the images.` });
  const readout = el("p", { class: "readout", role: "status" }, "Point at a cell, or use the arrow keys.");
  const totals = classes.map((_, a) => Math.max(1, sumOf(a)));
  const largest = signed ? Math.max(1, ...Array.from(cells, Math.abs)) : 1;
  let order = classOrder("data", cells, count);
  const view = { x: 0, y: 0, span: count };
  let cursor = null;

  function sumOf(a) { let sum = 0; for (let b = 0; b < count; b++) sum += Math.abs(cells[a * count + b]); return sum; }
  const at = (row, column) => cells[order[row] * count + order[column]];

  function shade(row, column) {
    const value = at(row, column);
    if (!value) return null;
    const hit = order[row] === order[column];
    const strength = signed ? Math.abs(value) / largest : value / totals[order[row]];
    const good = signed ? hit === value > 0 : hit;
    const hue = signed ? (good ? "38,140,80" : "190,40,60") : good ? "42,98,168" : "190,40,60";
    const dark = signed ? (good ? "98,199,138" : "255,123,136") : good ? "127,178,240" : "255,123,136";
    return `rgba(${isDark() ? dark : hue},${0.12 + 0.88 * Math.sqrt(strength)})`;
  }

  const redraw = whenSeen(canvas, draw);

  function draw() {
    const side = canvas.clientWidth || 400, ratio = devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * ratio);
    const brush = canvas.getContext("2d");
    brush.scale(ratio, ratio);
    brush.fillStyle = color("paper"); brush.fillRect(0, 0, side, side);
    const edge = margin(side), step = (side - edge) / view.span;
    const gap = step > 12 ? 1 : 0;
    for (let row = Math.floor(view.y); row < Math.min(count, view.y + view.span); row++) {
      for (let column = Math.floor(view.x); column < Math.min(count, view.x + view.span); column++) {
        const fill = shade(row, column);
        const [left, top] = [edge + (column - view.x) * step, (row - view.y) * step];
        if (fill) { brush.fillStyle = fill; brush.fillRect(left, top, Math.max(step - gap, 0.8), Math.max(step - gap, 0.8)); }
        if (step > 26 && at(row, column)) number(brush, row, column, left + step / 2, top + step / 2);
      }
    }
    names(brush, edge, step, side);
    if (cursor) {
      brush.strokeStyle = color("ink"); brush.lineWidth = 2;
      const wide = Math.max(step, 6), off = (wide - step) / 2;
      brush.strokeRect(edge + (cursor[1] - view.x) * step - off, (cursor[0] - view.y) * step - off, wide, wide);
    }
  }
  const longest = Math.max(...classes.map((name) => name.length));
  function margin(side) { return Math.min(110, side * 0.22, Math.max(52, longest * 6.6 + 14)); }
  function number(brush, row, column, x, y) {
    const value = at(row, column);
    const strong = signed ? Math.abs(value) / largest > 0.3 : value / totals[order[row]] > 0.3;
    brush.fillStyle = strong ? (isDark() ? "#10141a" : "#fff") : color("ink");
    brush.font = "11px system-ui, sans-serif"; brush.textAlign = "center"; brush.textBaseline = "middle";
    brush.fillText(signed && value > 0 ? `+${value}` : value, x, y);
  }
  function names(brush, edge, step, side) {
    brush.fillStyle = color("paper"); brush.fillRect(0, 0, edge, side); brush.fillRect(0, side - edge, side, edge);
    brush.fillStyle = color("ink"); brush.textBaseline = "middle";
    brush.font = `${Math.min(12, Math.max(9, step * 0.8))}px system-ui, sans-serif`;
    const every = Math.max(1, Math.ceil(10 / step)), most = Math.max(5, Math.floor(edge / 6.2));
    for (let place = Math.ceil(view.y); place < Math.min(count, view.y + view.span); place++) {
      if (place % every) continue;
      const text = cut(classes[order[place]], most), middle = (place - view.y + 0.5) * step;
      brush.textAlign = "right";
      if (middle < side - edge) brush.fillText(text, edge - 6, middle);
    }
    for (let place = Math.ceil(view.x); place < Math.min(count, view.x + view.span); place++) {
      if (place % every) continue;
      brush.save();
      brush.translate(edge + (place - view.x + 0.5) * step, side - edge + 6);
      brush.rotate(-Math.PI / 2); brush.textAlign = "right";
      brush.fillText(cut(classes[order[place]], most), 0, 0);
      brush.restore();
    }
    brush.textAlign = "left"; brush.fillStyle = color("faint"); brush.font = "11px system-ui, sans-serif";
    brush.fillText("true ↑", 4, side - edge + 12);
    brush.fillText("pred. →", 4, side - edge + 26);
  }
  const cut = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);

  function tell() {
    if (!cursor) return;
    const [a, b] = cursor.map((place) => order[place]);
    readout.textContent = describe(a, b, cells[a * count + b], totals[a]);
  }
  function zoom(factor, middle = cursor ?? [view.y + view.span / 2, view.x + view.span / 2]) {
    const span = Math.min(count, Math.max(Math.min(4, count), view.span * factor));
    view.y = clamp(middle[0] - ((middle[0] - view.y) * span) / view.span, span);
    view.x = clamp(middle[1] - ((middle[1] - view.x) * span) / view.span, span);
    view.span = span;
    draw();
  }
  const clamp = (start, span) => Math.max(0, Math.min(count - span, start));
  function follow() {
    const [row, column] = cursor;
    view.y = clamp(Math.min(Math.max(view.y, row - view.span + 1), row), view.span);
    view.x = clamp(Math.min(Math.max(view.x, column - view.span + 1), column), view.span);
  }
  function cellAt(event) {
    const box = canvas.getBoundingClientRect(), edge = margin(box.width), step = (box.width - edge) / view.span;
    const cell = [view.y + (event.clientY - box.top) / step, view.x + (event.clientX - box.left - edge) / step].map(Math.floor);
    const inside = event.clientX - box.left > edge && event.clientY - box.top < box.width - edge;
    return inside && cell.every((place) => place >= 0 && place < count) ? cell : null;
  }
  function goTo(a, b) {
    cursor = [order.indexOf(a), order.indexOf(b)];
    if (view.span > 24) zoom(24 / view.span);
    follow(); draw(); tell();
  }

  let dragged = null;
  canvas.addEventListener("pointerdown", (event) => { dragged = { x: event.clientX, y: event.clientY, from: { ...view }, far: false }; });
  canvas.addEventListener("pointermove", (event) => {
    if (dragged && event.buttons && view.span < count) {
      const box = canvas.getBoundingClientRect(), step = (box.width - margin(box.width)) / view.span;
      dragged.far ||= Math.hypot(event.clientX - dragged.x, event.clientY - dragged.y) > 6;
      view.x = clamp(dragged.from.x - (event.clientX - dragged.x) / step, view.span);
      view.y = clamp(dragged.from.y - (event.clientY - dragged.y) / step, view.span);
      return draw();
    }
    const cell = cellAt(event);
    if (cell && (cursor?.[0] !== cell[0] || cursor?.[1] !== cell[1])) { cursor = cell; draw(); tell(); }
  });
  canvas.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell && !dragged?.far) { cursor = cell; draw(); tell(); onPick(order[cell[0]], order[cell[1]]); }
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // plain turning scrolls the page
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, cellAt(event) ?? undefined);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const move = KEYS[event.key];
    if (move) {
      const [row, column] = cursor ?? [Math.floor(view.y), Math.floor(view.x)];
      cursor = cursor ? [Math.max(0, Math.min(count - 1, row + move[1])), Math.max(0, Math.min(count - 1, column + move[0]))] : [row, column];
      follow(); draw(); tell();
    } else if (event.key === "Enter" && cursor) onPick(order[cursor[0]], order[cursor[1]]);
    else if (event.key === "+" || event.key === "=") zoom(0.67);
    else if (event.key === "-") zoom(1.5);
    else return;
    event.preventDefault();
  });

  const select = el("select", { onchange: () => { order = classOrder(select.value, cells, count); cursor = null; draw(); } },
    el("option", { value: "data" }, "as in the data set"), el("option", { value: "errors" }, "most mistakes first"),
    el("option", { value: "together" }, "confused ones together"));
  const button = (text, name, run) => el("button", { type: "button", "aria-label": name, onclick: run }, text);
  const bar = el("div", { class: "bar" }, el("label", {}, "Order ", select), el("span", {},
    button("+", "zoom in", () => zoom(0.67)), " ", button("−", "zoom out", () => zoom(1.5)), " ",
    button("whole", "show the whole matrix", () => { Object.assign(view, { x: 0, y: 0, span: count }); draw(); })));
  new ResizeObserver(settled(redraw)).observe(canvas);
  return { node: el("div", {}, bar, canvas, readout), goTo };
}
