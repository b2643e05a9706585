"use strict";
// What all parts of the page share: building nodes, inflating data, the theme, drawing what comes into view.

const page = { data: JSON.parse(document.getElementById("payload").textContent), redraws: new Map() };

/** Make a node; text goes in as text only, whatever it holds. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** Return the parts of a name, between which a line may break. */
function breakable(name) {
  return name.split(/(?<=[/._ ])/).flatMap((part) => [part, el("wbr")]);
}

const byId = (id) => document.getElementById(id);
const tile = (value, name) => el("div", { class: "tile" }, el("b", {}, value), el("span", {}, name));

/** Inflate base64 of zlib into bytes. */
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function score(value) {
  return value == null ? "–" : value.toFixed(4);
}

function short(value) {
  if (value == null) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  if (Math.abs(value) < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e"); // 1.6e-6, and not 0.0000016
  return String(Number(value.toPrecision(4)));
}

function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), minutes = Math.round(seconds / 60);
  return whole < 3600 ? `${Math.floor(whole / 60)}\u00a0min ${whole % 60}\u00a0s` : `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  for (const [node, redraw] of page.redraws) {
    if (node.isConnected) redraw();
    else page.redraws.delete(node); // of a trial that is no longer open
  }
}

/** Follow the system until the switch is used; a sandboxed frame keeps no memory of it. */
function startTheme() {
  fitToPaper();
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("sweeper-theme"); } catch { /* a sandboxed frame */ }
  setTheme(chosen || (system.matches ? "dark" : "light"));
  system.addEventListener("change", () => chosen || setTheme(system.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => {
    chosen = isDark() ? "light" : "dark";
    try { localStorage.setItem("sweeper-theme", chosen); } catch { /* as above */ }
    setTheme(chosen);
  });
}

const SMALLEST = 0.6; // of the size of printed tables

const isPrinting = () => document.documentElement.classList.contains("printing");

/** Lay the page out for paper while it is printed: as wide, and light. Charts do not follow by themselves. */
function fitToPaper() {
  let theme = "";
  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.classList.add("printing");
    document.querySelectorAll(".scroll > table").forEach(fitTable);
    setTheme("light");
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    document.querySelectorAll(".scroll > table").forEach((table) => { table.style.zoom = ""; table.classList.remove("crowded"); });
    setTheme(theme);
  });
}

/** Shrink a table that is wider than the page, as far as it can be read; beyond that its cells break anywhere. */
function fitTable(table) {
  const fits = table.parentElement.clientWidth / table.scrollWidth;
  if (fits >= 1) return;
  table.style.zoom = Math.max(fits, SMALLEST);
  table.classList.toggle("crowded", fits < SMALLEST);
}

const whenIdle = window.requestIdleCallback ?? ((run) => setTimeout(run, 50));
const unseen = [];

/** Draw something in a quiet moment, one thing after another: who prints or photographs the page wants the whole of it. */
function drawLater(draw) {
  unseen.push(draw);
  if (unseen.length === 1) whenIdle(drawNext);
}

function drawNext() {
  try { unseen[0](); }
  finally {
    unseen.shift();
    if (unseen.length) whenIdle(drawNext);
  }
}

/** Draw a node when it comes near the screen, or later; the function returned draws it again, when it is there. */
function whenSeen(node, draw) {
  let seen = false, stale = true;
  const update = () => {
    if (seen && stale) { stale = false; draw(); }
  };
  const redraw = () => { stale = true; update(); };
  new IntersectionObserver((entries) => {
    seen = entries.some((entry) => entry.isIntersecting);
    update();
  }, { rootMargin: "200px" }).observe(node);
  drawLater(() => {
    if (stale && node.clientWidth) { stale = false; draw(); }
  });
  page.redraws.set(node, redraw);
  addEventListener("beforeprint", () => { seen = true; update(); });
  return redraw;
}

/** Run a function once things have been quiet for a moment. */
function settled(run, wait = 120) {
  let timer = 0;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => run(...given), wait); };
}
