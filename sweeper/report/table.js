"use strict";
// A table whose headings sort; long ones show their first rows until asked for more.

const FIRST_ROWS = 60;

/** Fill a table. A column has a title, `value(row)` to sort by, and perhaps `cell(row)` to show, `number`, `wide`. */
function sortableTable(table, columns, rows, { by = 0, down = false, mark = () => false, more = null } = {}) {
  let all = false;
  const heads = columns.map((column, place) => el("th", { scope: "col", class: column.number && "number", "aria-sort": "none" },
    el("button", { type: "button", onclick: () => sort(place) }, column.title), el("span", {}, ...breakable(column.title))));
  const body = el("tbody");
  table.replaceChildren(el("thead", {}, el("tr", {}, ...heads)), body);
  const view = { rows, show };

  function sort(place) {
    down = place === by ? !down : Boolean(columns[place].number && columns[place].title !== "rank" && columns[place].title !== "trial");
    by = place;
    show();
  }
  function order(a, b) {
    const [left, right] = [columns[by].value(a), columns[by].value(b)];
    if (left == null || right == null) return (left == null) - (right == null);
    const way = typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right), "en", { numeric: true });
    return down ? -way : way;
  }
  function line(row) {
    const cells = columns.map((column) => {
      const shown = column.cell ? column.cell(row) : short(column.value(row));
      return el("td", { class: column.number ? "number" : column.wide && "wide" }, shown);
    });
    return el("tr", { "aria-current": mark(row) ? "true" : null }, ...cells);
  }
  function show() {
    heads.forEach((head, place) => head.setAttribute("aria-sort", place === by ? (down ? "descending" : "ascending") : "none"));
    const sorted = [...view.rows].sort(order);
    const shown = all ? sorted : sorted.slice(0, FIRST_ROWS);
    body.replaceChildren(...shown.map(line));
    if (more) {
      more.hidden = shown.length === sorted.length;
      more.textContent = `Show all ${sorted.length}`;
      more.onclick = () => { all = true; show(); };
    }
  }
  show();
  return view;
}

/** Read a filter: words that occur in a row, and comparisons of columns by name or the end of a name. */
function rowFilter(text, columns) {
  const tests = text.trim().toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const parts = word.match(/^([^<>=!]+)(<=|>=|!=|<|>|=)(.+)$/);
    return parts ? comparison(parts, columns) : (row) => columns.some((column) => String(column.value(row) ?? "").toLowerCase().includes(word));
  });
  return (row) => tests.every((test) => test(row));
}

function comparison([, name, sign, wanted], columns) {
  const meant = columns.filter(({ title }) => {
    const lower = title.toLowerCase();
    return lower === name || lower.endsWith(`.${name}`) || lower.endsWith(`/${name}`);
  });
  const number = Number(wanted);
  const ways = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b, "!=": (a, b) => a !== b };
  return (row) => {
    const values = meant.map((column) => column.value(row)).filter((value) => value != null);
    const alike = values.map((value) => (typeof value === "number" && !Number.isNaN(number) ? ways[sign](value, number)
      : ways[sign](String(value).toLowerCase(), wanted)));
    return sign === "!=" ? alike.every(Boolean) : alike.some(Boolean);
  };
}
