// The Compare tab: the same candidates in the order of word overlap, as given, and as one or two models put them.

import { post } from "./api.js";
import { readRequest } from "./composer.js";
import { byId, drawing, element, put } from "./element.js";
import { onLanguage, t, twoDecimals } from "./i18n.js";
import { kendallTau, orderByScore } from "./order.js";
import { explainProblem } from "./problem.js";
import { chosenModel, lastRanking } from "./rerank.js";
import { scoreText } from "./score.js";
import { models, onServer } from "./server.js";

const SHOWN_AT_FIRST = 20;

const panel = byId("compare");
const state = { request: null, columns: [], second: "", first: "", all: false, problem: null, busy: false, picked: null };

let stop = new AbortController();
let needsKey = null;

export function startCompare(askForKey) {
  needsKey = askForKey;
  onLanguage(draw);
  onServer(() => !panel.hidden && drawChoice());
  addEventListener("resize", drawLines);
  return { shown: compare, hidden: () => stop.abort() };
}

/** Asks for the orders that are not known yet. */
async function compare() {
  const request = readRequest({ quiet: true });
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  Object.assign(state, { request, columns: [], problem: null, busy: Boolean(request), picked: request?.answer ?? null });
  chooseModels();
  draw();
  if (!request) return;
  try {
    const names = [state.first || null, ...(state.second ? [state.second] : [])];
    const overlap = await overlapColumn(request, signal);
    state.columns = [overlap, givenColumn(request)];
    draw();
    for (const name of names) {
      state.columns = [...state.columns, await modelColumn(request, name, signal)];
      draw();
    }
  } catch (problem) {
    if (problem.name === "AbortError") return;
    state.problem = problem;
    if (explainProblem(problem).field === "key") needsKey(problem, compare);
  }
  state.busy = false;
  draw();
}

/** The models to show: two different ones that the server has, or one. */
function chooseModels() {
  const names = models().map((model) => model.name);
  if (!names.includes(state.first)) state.first = chosenModel() ?? "";
  if (!names.includes(state.second) || state.second === state.first) state.second = "";
}

async function overlapColumn({ query, documents }, signal) {
  const texts = documents.map((document) => document.text);
  const { scores } = await post("finerank/v1/overlap", { query, documents: texts }, { signal });
  return { kind: "overlap", order: orderByScore(scores), show: (index) => scores[index].toFixed(2) };
}

const givenColumn = ({ documents }) => ({ kind: "given", order: documents.map((_, index) => index), show: () => "" });

async function modelColumn(request, model, signal) {
  const { results, model: answering } = await resultsOf(request, model, signal);
  const scores = new Map(results.map((result) => [result.index, result.score]));
  return { kind: "model", name: model ?? answering, order: results.map((result) => result.index), show: (index) => scoreText(scores.get(index)), score: (index) => scores.get(index) };
}

/** The ranking on the Rerank tab is used again if it is of the same text and model. */
async function resultsOf(request, model, signal) {
  const last = lastRanking();
  const same = last && JSON.stringify(last.request) === JSON.stringify(request) && last.model === model;
  if (same) return last.answer;
  const body = { query: request.query, documents: request.documents, return_documents: false, tag: "page", ...(model ? { model } : {}) };
  return post("finerank/v1/rerank", body, { signal });
}

function draw() {
  if (!state.request) return drawEmpty();
  const focused = panel.contains(document.activeElement) ? document.activeElement.id : "";
  put(
    panel,
    element("div", { class: "compare-head" },
      element("p", { class: "compare-query" }, element("span", { class: "hint" }, t("query.label")), " ", element("bdi", {}, state.request.query)),
      element("div", { class: "compare-models", id: "compare-models" })),
    state.problem && problemBox(),
    element("div", { class: "orders", id: "orders", role: "group", "aria-label": t("tab.compare") }, columns()),
    state.busy && element("p", { class: "hint waiting", role: "status" }, t("compare.waiting")),
    state.request.documents.length > SHOWN_AT_FIRST && moreButton(),
    element("p", { class: "whole-text", id: "picked", "aria-live": "polite" }),
    element("ul", { class: "legend" }, ["up", "down", "same"].map((way) => element("li", { class: `line ${way}` }, t(`compare.${way}`)))),
    element("p", { class: "hint" }, t("compare.how")),
  );
  drawChoice();
  drawLines();
  pick(state.picked);
  if (focused) byId(focused)?.focus();
}

function drawEmpty() {
  put(
    panel,
    element("div", { class: "empty-panel" },
      element("h3", {}, t("compare.empty")),
      element("p", {}, t("compare.empty.how")),
      element("p", {}, element("a", { class: "button", href: "#rerank" }, t("compare.empty.go")))),
  );
}

function problemBox() {
  const { headline, detail } = explainProblem(state.problem);
  return element("div", { class: "problem-box", role: "alert" },
    element("p", {}, element("strong", {}, headline)),
    detail && element("p", {}, detail),
    element("p", {}, element("button", { type: "button", on: { click: compare } }, t("again"))));
}

function drawChoice() {
  const place = byId("compare-models");
  if (!place) return;
  const names = models().map((model) => model.name);
  if (names.length < 2) return put(place, element("p", { class: "hint" }, t("compare.one-model")));
  put(place, choice("first", names), choice("second", ["", ...names.filter((name) => name !== state.first)]));
}

function choice(which, names) {
  const change = (event) => {
    const before = state[which];
    state[which] = event.target.value;
    if (state.first === state.second) state.second = before; // the first takes the place of the second: they swap
    event.target.focus(); // kept when it is drawn again
    compare();
  };
  const select = element("select", { id: `compare-${which}`, on: { change } },
    names.map((name) => element("option", { value: name, selected: name === state[which] }, name || t("compare.none"))));
  return element("div", {}, element("label", { for: select.id }, t(`compare.${which}`)), select);
}

function columns() {
  return state.columns.flatMap((column, number) => [
    number > 0 && drawing("svg", { class: "lines", "aria-hidden": "true" }),
    element("section", { class: `order ${column.kind}`, "aria-label": titleOf(column) },
      element("header", {}, element("h3", {}, titleOf(column)), element("p", { class: "hint" }, subtitleOf(column))),
      element("ol", {}, column.order.slice(0, limit()).map((index, place) => rowOf(column, index, place)))),
  ]);
}

const limit = () => (state.all ? Infinity : SHOWN_AT_FIRST);

const titleOf = (column) => (column.kind === "model" ? column.name : t(`compare.${column.kind}`));

function subtitleOf({ kind, order }) {
  const { answer } = state.request;
  const place = answer === null ? "" : t("compare.answer", { rank: order.indexOf(answer) + 1 });
  const tau = kind === "given" ? null : kendallTau(order);
  return [place, tau === null ? "" : t("compare.tau", { tau: twoDecimals(tau) })].filter(Boolean).join(" · ");
}

function rowOf(column, index, place) {
  const { text } = state.request.documents[index];
  const fill = column.score && element("span", { class: "fill" });
  if (fill) fill.style.width = `${column.score(index) * 100}%`;
  const on = { click: () => pick(index), focus: () => pick(index), pointerenter: () => pick(index) };
  return element("li", {},
    element("button", { type: "button", class: "row", "data-index": index, on },
      element("span", { class: "rank" }, String(place + 1)),
      element("span", { class: "candidate" }, `#${index + 1}`),
      element("span", { class: "snippet", dir: "auto" }, text.slice(0, 160)),
      element("span", { class: "value" }, column.show(index)),
      fill && element("span", { class: "bar" }, fill)));
}

/** Marks one candidate in every column, and its lines. */
function pick(index) {
  state.picked = index;
  for (const node of panel.querySelectorAll("[data-index]")) node.classList.toggle("picked", Number(node.dataset.index) === index);
  const place = byId("picked");
  if (!place) return;
  const ranks = state.columns.map((column) => `${titleOf(column)} ${column.order.indexOf(index) + 1}`);
  put(place, index !== null && [
    element("strong", {}, t("card.candidate", { n: index + 1 })), ` ${ranks.join(" → ")} `,
    index === state.request.answer && element("span", { class: "tag answer" }, t("card.answer")),
    element("span", { class: "whole", dir: "auto" }, state.request.documents[index].text),
  ]);
}

/** Rows are all of one height, so a line's ends follow from the ranks; those beyond the last row run off the edge. */
function drawLines() {
  const drawings = panel.querySelectorAll(".orders .lines");
  drawings.forEach((svg, number) => {
    const list = svg.nextElementSibling.querySelector("ol");
    const pitch = list.children[0]?.offsetHeight ?? 0;
    const { width } = svg.getBoundingClientRect();
    svg.setAttribute("height", String(list.offsetHeight));
    const [left, right] = [state.columns[number].order, state.columns[number + 1].order];
    const to = new Map(right.map((index, place) => [index, place]));
    put(svg, left.map((index, from) => to.has(index) && Math.min(from, to.get(index)) < limit() && line({ index, from, to: to.get(index), pitch, width })));
  });
  if (drawings.length) pick(state.picked);
}

function line({ index, from, to, pitch, width }) {
  const [y1, y2] = [(from + 0.5) * pitch, (to + 0.5) * pitch];
  const way = to < from ? "up" : to > from ? "down" : "same";
  const beyond = Math.max(from, to) >= limit() ? " beyond" : "";
  return drawing("path", { class: way + beyond, "data-index": index, d: `M0 ${y1}C${width / 2} ${y1} ${width / 2} ${y2} ${width} ${y2}` });
}

function moreButton() {
  const toggle = () => {
    state.all = !state.all;
    draw();
  };
  const label = state.all ? t("compare.fewer", { n: SHOWN_AT_FIRST }) : t("compare.all", { n: state.request.documents.length });
  return element("p", {}, element("button", { type: "button", on: { click: toggle } }, label));
}
