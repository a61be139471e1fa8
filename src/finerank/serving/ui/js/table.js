// The raw data: every result as a row, sortable, to copy or to keep as CSV or JSON.

import { copy } from "./clipboard.js";
import { writeCsv } from "./csv.js";
import { element, put } from "./element.js";
import { t } from "./i18n.js";
import { logitText } from "./score.js";

const COLUMNS = [
  { name: "rank", value: (row) => row.rank },
  { name: "id", value: (row) => row.id },
  { name: "text", value: (row) => row.text },
  { name: "logit", value: (row) => row.logit, show: logitText, first: "descending" },
  { name: "score", value: (row) => row.score, show: (score) => score.toFixed(6), first: "descending" },
  { name: "probability", value: (row) => row.probability, show: (value) => value.toFixed(6), first: "descending" },
];

/** Draws rows `{rank, id, index, text, logit, score, probability, truncated}`. */
export function drawTable(place, rows) {
  const columns = COLUMNS.filter((column) => column.name !== "probability" || rows.some((row) => row.probability != null));
  const order = { column: columns[0], direction: "ascending" };
  const body = element("tbody");
  const heads = columns.map((column) => headOf(column, order, redraw));
  const said = element("span", { class: "hint", role: "status" });
  const sorted = () => sortRows(rows, order);

  function redraw() {
    heads.forEach((head, number) => head.setAttribute("aria-sort", columns[number] === order.column ? order.direction : "none"));
    put(body, sorted().map((row) => rowOf(row, columns)));
  }

  put(
    place,
    element("div", { class: "table-actions" },
      action("raw.copy", async () => (said.textContent = t((await copy(tabbed(sorted(), columns))) ? "raw.copied" : "raw.copy.failed"))),
      action("raw.csv", () => save("finerank.csv", "text/csv", writeCsv(cells(sorted(), columns)))),
      action("raw.json", () => save("finerank.json", "application/json", JSON.stringify(sorted(), null, 2))),
      said),
    element("div", { class: "table-scroll", role: "region", tabindex: "0", "aria-label": t("raw.title") },
      element("table", {}, element("thead", {}, element("tr", {}, heads)), body)),
  );
  redraw();
}

function headOf(column, order, redraw) {
  const sort = () => {
    const reverse = { ascending: "descending", descending: "ascending" };
    order.direction = order.column === column ? reverse[order.direction] : (column.first ?? "ascending");
    order.column = column;
    redraw();
  };
  return element("th", { scope: "col", class: `col-${column.name}` },
    element("button", { type: "button", on: { click: sort } }, t(`raw.${column.name}`), element("span", { class: "arrow", "aria-hidden": "true" })));
}

function sortRows(rows, { column, direction }) {
  const sign = direction === "ascending" ? 1 : -1;
  return [...rows].sort((a, b) => sign * compare(column.value(a), column.value(b)) || a.rank - b.rank);
}

/** Numbers by value; text as a person counts, so that doc-9 comes before doc-10. */
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a ?? "").localeCompare(String(b ?? ""), undefined, { numeric: true });
}

const rowOf = (row, columns) =>
  element("tr", {}, columns.map(({ name, value, show }) =>
    element("td", { class: `col-${name}`, dir: name === "text" ? "auto" : null }, value(row) == null ? "" : (show ?? String)(value(row)))));

const action = (name, run) => element("button", { type: "button", class: "quiet", on: { click: run } }, t(name));

const cells = (rows, columns) => [columns.map((column) => t(`raw.${column.name}`)), ...rows.map((row) => columns.map((column) => column.value(row)))];

/** For spreadsheets: tabs and line breaks within a text become spaces. */
const tabbed = (rows, columns) => cells(rows, columns).map((row) => row.map((value) => String(value ?? "").replace(/[\t\r\n]+/g, " ")).join("\t")).join("\n");

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
