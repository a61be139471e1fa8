// The Health tab: the figures of ranking health, the scores, the alerts and the server, asked for while it is seen.

import { get, post } from "./api.js";
import { chart } from "./chart.js";
import { byId, drawing, element, put } from "./element.js";
import { currentLanguage, has, number, onLanguage, t, time, twoDecimals } from "./i18n.js";
import { explainProblem } from "./problem.js";
import { saidText } from "./said.js";

const EVERY_MS = 5_000;
const CHART_POINTS = 144;
const RATES = new Set(["top1_replacement_rate", "low_score_share", "low_document_share", "truncation_rate", "tie_rate"]);
const SERVER_CHARTS = [
  { name: "pairs", lines: ["pairs_per_s"], format: whole, floor: 1 },
  { name: "latency", lines: ["latency_p50_ms", "latency_p95_ms"], format: milliseconds },
  { name: "queue", lines: ["queue_pairs"], of: worst, format: whole, floor: 1 },
  { name: "fill", lines: ["batch_fill"], format: percent, floor: 1 },
  { name: "load", lines: ["requests", "errors"], format: whole, of: worst, floor: 1 },
  { name: "tokens", lines: ["tokens_per_s"], format: whole, floor: 1 },
];

const panel = byId("health");
const chosen = { model: "", tag: "" };
const last = { ranking: null, stats: null, problem: null, baseline: "" };

const parts = { problem: element("div"), summary: element("div"), body: element("div") };
parts.head = element("header", { class: "health-head" }, parts.summary, element("div", { class: "filters" }, filterField("model"), filterField("tag")));

let timer = null;
let needsKey = null;
let seen = false;

export function startHealth(askForKey) {
  needsKey = askForKey;
  onLanguage(draw);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : seen && refresh()));
  return {
    shown() {
      seen = true;
      draw();
      refresh();
    },
    hidden() {
      seen = false;
      clearTimeout(timer);
    },
  };
}

async function refresh() {
  clearTimeout(timer);
  try {
    const [ranking, stats] = await Promise.all([get(`finerank/v1/health/ranking${filter()}`), get("finerank/v1/stats")]);
    Object.assign(last, { ranking, stats, problem: null });
  } catch (problem) {
    last.problem = problem;
    if (explainProblem(problem).field === "key") needsKey(problem, refresh);
  }
  draw();
  if (seen && !document.hidden) timer = setTimeout(refresh, EVERY_MS);
}

function filter() {
  const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
  return query.size ? `?${query}` : "";
}

/** The filters stay where they are, as one may be open; a chart under the pointer is not drawn away from it. */
function draw() {
  if (panel.hidden) return;
  const { ranking, stats, problem } = last;
  if (!panel.children.length) put(panel, parts.problem, parts.head, parts.body);
  put(parts.problem, problem && problemBox(problem), !ranking && !problem && element("p", { class: "hint waiting", role: "status" }, t("health.waiting")));
  if (ranking) drawHead(ranking);
  if (parts.body.querySelector("svg:hover")) return;
  const focused = parts.body.contains(document.activeElement) ? document.activeElement.id : "";
  put(
    parts.body,
    ranking && [figures(ranking), element("div", { class: "health-pair" }, distribution(ranking), alerts(ranking))],
    stats && serverFigures(stats),
  );
  if (focused) byId(focused)?.focus();
}

function problemBox(problem) {
  const { headline, detail } = explainProblem(problem);
  return element("div", { class: "problem-box", role: "alert" },
    element("p", {}, element("strong", {}, headline)), detail && element("p", {}, detail),
    element("p", {}, element("button", { type: "button", id: "health-again", on: { click: refresh } }, t("again")), " ",
      last.ranking && element("span", { class: "hint" }, t("health.old"))));
}

function drawHead({ figures, requests, documents, window_s: windowS, models, tags }) {
  const ill = figures.filter((figure) => figure.state === "unhealthy").length;
  const known = figures.some((figure) => figure.state !== "unknown");
  const tone = ill ? "ill" : known ? "well" : "unknown";
  put(
    parts.summary,
    element("h2", { class: `headline ${tone}` }, t(`health.${tone}`, { n: ill })),
    element("p", { class: "hint" }, t("health.window", { requests, documents, minutes: Math.round(windowS / 60) })),
  );
  drawFilter("model", models);
  drawFilter("tag", tags);
}

function drawFilter(name, values) {
  const select = byId(`health-${name}`);
  const wanted = [...new Set(["", ...values, chosen[name]])];
  select.previousElementSibling.textContent = t(`health.${name}`);
  const said = wanted.map((value) => value || t("health.every"));
  if ([...select.options].map((option) => option.text).join("\n") === said.join("\n")) return;
  put(select, wanted.map((value, place) => element("option", { value, selected: value === chosen[name] }, said[place])));
}

function filterField(name) {
  const change = (event) => {
    chosen[name] = event.target.value;
    refresh();
  };
  return element("div", {}, element("label", { for: `health-${name}` }), element("select", { id: `health-${name}`, on: { change } }));
}

function figures({ figures, series, window_s: windowS }) {
  const span = spanOf(series, windowS);
  return element("ul", { class: "health-figures" }, figures.map((figure) =>
    element("li", { class: `health-figure ${figure.state}` },
      element("div", { class: "figure-head" },
        element("h3", {}, said(figure, "title", figure.name)),
        element("span", { class: "state" }, t(`state.${figure.state}`))),
      element("p", { class: "figure-value" }, valueText(figure.name, figure.value),
        element("span", { class: "hint" }, healthyText(figure))),
      chart({
        title: "", label: said(figure, "title", figure.name), span, healthy: figure.healthy ?? [null, null], format: (value) => valueText(figure.name, value),
        floor: RATES.has(figure.name) ? 0.2 : 0,
        lines: [{ name: t("chart.measured"), points: series.map((point) => ({ time: point.time, value: point.figures[figure.name] ?? null })) }],
      }),
      element("p", { class: "meaning" }, said(figure, "meaning", figure.meaning)),
      figure.advice && element("p", { class: "advice" }, adviceOf(figure)))));
}

const spanOf = (points, lengthS) => {
  const end = Math.max(Date.now() / 1000, points.at(-1)?.time ?? 0);
  return [Math.max(end - lengthS, Math.min(points[0]?.time ?? end - lengthS, end - 60)), end];
};

/** The page's own words for a figure it knows; a newer server's for one it does not. */
const said = ({ name }, what, otherwise) => (has(`figure.${name}.${what}`) ? t(`figure.${name}.${what}`) : what === "title" ? otherwise : saidText(otherwise));

function adviceOf(figure) {
  return currentLanguage() === "en" ? figure.advice : said(figure, "advice", figure.advice);
}

function valueText(name, value) {
  if (value === null || value === undefined) return "–";
  return RATES.has(name) ? percent(value) : twoDecimals(value);
}

function healthyText({ name, healthy }) {
  const [low, high] = healthy ?? [null, null];
  if (low === null && high === null) return "";
  const values = { low: valueText(name, low), high: valueText(name, high) };
  return t(low === null ? "healthy.under" : high === null ? "healthy.over" : "healthy.between", values);
}

function distribution({ scores }) {
  const total = scores.counts.reduce((sum, count) => sum + count, 0);
  const shares = scores.counts.map((count) => (total ? count / total : 0));
  const { baseline } = scores;
  return element("section", { class: "distribution", "aria-labelledby": "distribution-title" },
    element("div", { class: "figure-head" },
      element("h3", { id: "distribution-title" }, t("scores.title")),
      element("ul", { class: "legend" }, element("li", { class: "now" }, t("scores.now")), baseline && element("li", { class: "base" }, t("scores.baseline")))),
    histogram(shares, baseline),
    element("p", { class: "hint" }, t(baseline ? "scores.compared" : "scores.no-baseline")),
    element("p", {}, element("button", { type: "button", id: "baseline", disabled: !total, on: { click: storeBaseline } }, t("scores.store")),
      " ", element("span", { class: "hint", role: "status" }, last.baseline)));
}

function histogram(shares, baseline) {
  const top = Math.max(...shares, ...(baseline ?? []), 0.05);
  const step = 100 / shares.length;
  const bars = shares.map((share, place) =>
    drawing("rect", { x: place * step + 0.4, width: step - 0.8, y: 100 - (share / top) * 100, height: (share / top) * 100 }));
  const outline = baseline?.map((share, place) => `${place ? "L" : "M"}${place * step} ${100 - (share / top) * 100}H${(place + 1) * step}`).join("");
  const label = t("scores.label", { shares: shares.map(percent).join(", ") });
  return element("div", { class: "histogram" },
    drawing("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": label }, bars, outline && drawing("path", { d: outline })),
    element("div", { class: "axis", "aria-hidden": "true" }, ["0", "0.25", "0.5", "0.75", "1"].map((tick) => element("span", {}, tick))));
}

async function storeBaseline() {
  const body = Object.fromEntries(Object.entries(chosen).filter(([, value]) => value));
  try {
    last.ranking = await post("finerank/v1/health/ranking/baseline", body);
    last.baseline = t("scores.stored");
  } catch (problem) {
    const { field, headline, detail } = explainProblem(problem);
    last.baseline = `${headline} ${detail}`;
    if (field === "key") needsKey(problem, storeBaseline);
  }
  draw();
}

function alerts({ alerts }) {
  return element("section", { class: "alerts", "aria-labelledby": "alerts-title" },
    element("h3", { id: "alerts-title" }, t("alerts.title")),
    alerts.length === 0 && element("p", { class: "hint" }, t("alerts.none")),
    element("ol", {}, alerts.map((alert) =>
      element("li", { class: alert.state },
        element("time", { datetime: new Date(alert.time * 1000).toISOString() }, time(alert.time, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" })),
        element("span", { class: "state" }, t(`alert.${alert.state}`)),
        element("span", {}, element("strong", {}, said({ name: alert.figure }, "title", alert.figure)), " ", valueText(alert.figure, alert.value),
          [alert.model, alert.tag].filter(Boolean).map((part) => element("span", { class: "tag" }, part)),
          element("span", { class: "message" }, alertMessage(alert)))))));
}

const alertMessage = (alert) =>
  alert.state === "raised" ? said({ name: alert.figure }, "advice", alert.message) : t("alert.recovered");

function serverFigures({ samples, interval_s: intervalS }) {
  const span = spanOf(samples, 3600);
  return element("section", { class: "server-figures", "aria-labelledby": "server-title" },
    element("h2", { id: "server-title" }, t("stats.title")),
    element("div", { class: "server-charts" }, SERVER_CHARTS.map(({ name, lines, format, floor, of = mean }) =>
      chart({
        title: t(`stats.${name}`, { seconds: intervalS }), span, format, floor,
        lines: lines.map((field) => ({ name: t(lines.length > 1 ? `stats.${field}` : `stats.${name}.line`), points: condensed(samples, field, of) })),
      }))));
}

/** At most `CHART_POINTS` points: `of` is what stands for neighbours. */
function condensed(samples, field, of) {
  const size = Math.ceil(samples.length / CHART_POINTS);
  const starts = Array.from({ length: Math.ceil(samples.length / size) }, (_, place) => place * size);
  return starts.map((start) => {
    const group = samples.slice(start, start + size);
    const values = group.map((sample) => sample[field]).filter(Number.isFinite);
    return { time: group.at(-1).time, value: values.length ? of(values) : null };
  });
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function worst(values) {
  return Math.max(...values);
}

function whole(value) {
  return number(value, { maximumFractionDigits: value < 10 ? 1 : 0, notation: value >= 10_000 ? "compact" : "standard" });
}

function milliseconds(value) {
  return value < 1000 ? `${number(value, { maximumFractionDigits: value < 10 ? 1 : 0 })} ms` : `${number(value / 1000, { maximumFractionDigits: 1 })} s`;
}

function percent(value) {
  return number(value, { style: "percent", maximumFractionDigits: value > 0 && value < 0.1 ? 1 : 0 });
}
