// A small line chart over time in SVG, with the healthy range behind it. Knows no figure by name.
//
// Not a library's: fourteen charts of at most 720 points need no canvas, and SVG takes the theme's colours, forced
// colours and a screen reader's label without being told of them.

import { drawing, element, put } from "./element.js";
import { t, time } from "./i18n.js";

const HEIGHT = 104;
const PAD = { top: 8, right: 6, bottom: 20, left: 50 };
const GAP = 3;
/* Times further apart than three of the usual steps are not joined: nothing is known in between. */

/**
 * A figure element; `label` names it where `title` is empty. `lines` are `{name, points: [{time, value}]}`, value null where
 * there is none; `healthy` is [low, high], either null; `format` writes a value; `span` is [from, to] in seconds; `floor`
 * the lowest top of the scale.
 */
export function chart({ title, label = title, lines, healthy = [null, null], format, span, floor = 0 }) {
  const readout = element("span", { class: "readout" });
  const svg = drawing("svg", { class: "chart", role: "img", height: HEIGHT });
  const node = element("figure", { class: "chart-figure" }, element("figcaption", { class: "chart-title" }, title, readout), svg, legendOf(lines, healthy));
  const values = lines.flatMap((line) => line.points.map((point) => point.value)).filter(Number.isFinite);
  const rest = () => (readout.textContent = lines.map((line) => lastOf(line, lines, format)).filter(Boolean).join(" · "));
  svg.setAttribute("aria-label", labelOf(label, lines, format));

  function draw(width) {
    const scale = scaleOf({ width, values, healthy, span, floor });
    put(
      svg,
      band(scale, healthy, width),
      scale.ticks.map((tick) => gridLine(scale, tick, width, format)),
      timeLabels(scale, span),
      lines.map((line, number) => curve(line, scale, number)),
      values.length === 0 && drawing("text", { class: "none", x: (width + PAD.left) / 2, y: HEIGHT / 2 }, t("chart.none")),
    );
    svg.onpointermove = (event) => showNearest(event, { lines, scale, format, readout, svg });
    svg.onpointerleave = () => {
      svg.querySelector(".cursor")?.remove();
      rest();
    };
    rest();
  }

  new ResizeObserver(([entry]) => draw(Math.max(120, entry.contentRect.width))).observe(svg);
  return node;
}

/** What each line is, and the area behind them. */
function legendOf(lines, [low, high]) {
  const rows = lines.map(({ name }, number) => element("li", { class: `line line-${number}` }, name));
  const banded = low !== null || high !== null;
  return element("ul", { class: "legend" }, rows, banded && element("li", { class: "area" }, t("chart.healthy")));
}

function scaleOf({ width, values, healthy, span, floor }) {
  const known = [...values, ...healthy.filter((edge) => edge !== null), floor];
  const top = niceTop(Math.max(...known.map(Math.abs), 1e-9));
  const bottom = known.some((value) => value < 0) ? -top : 0;
  const inner = { width: width - PAD.left - PAD.right, height: HEIGHT - PAD.top - PAD.bottom };
  return {
    x: (seconds) => PAD.left + ((seconds - span[0]) / (span[1] - span[0] || 1)) * inner.width,
    y: (value) => PAD.top + (1 - (value - bottom) / (top - bottom)) * inner.height,
    ticks: [bottom, (bottom + top) / 2, top],
    top,
    bottom,
  };
}

/** The next of 1, 2, 4, 5, 10 times a power of ten. */
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find((step) => step * power >= value * 0.999) * power;
}

function band(scale, [low, high], width) {
  if (low === null && high === null) return null;
  const upper = scale.y(Math.min(high ?? scale.top, scale.top));
  const lower = scale.y(Math.max(low ?? scale.bottom, scale.bottom));
  const right = width - PAD.right;
  return drawing("g", {},
    drawing("rect", { class: "healthy", x: PAD.left, y: upper, width: right - PAD.left, height: Math.max(0, lower - upper) }),
    [low, high].map((edge, place) => edge !== null && edge >= scale.bottom && edge <= scale.top && drawing("line", { class: "edge", x1: PAD.left, x2: right, y1: place ? upper : lower, y2: place ? upper : lower })));
}

function gridLine(scale, tick, width, format) {
  const y = scale.y(tick);
  return drawing("g", { class: "grid" },
    drawing("line", { x1: PAD.left, x2: width - PAD.right, y1: y, y2: y }),
    drawing("text", { x: PAD.left - 6, y: y + 4, class: "end" }, format(tick)));
}

function timeLabels(scale, span) {
  return span.map((seconds, number) =>
    drawing("text", { x: scale.x(seconds), y: HEIGHT - 4, class: number ? "end" : "start" }, time(seconds)));
}

function curve({ points }, scale, number) {
  const known = points.filter((point) => Number.isFinite(point.value));
  const steps = known.slice(1).map((point, place) => point.time - known[place].time).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? 0;
  const d = known.map((point, place) => {
    const joined = place > 0 && point.time - known[place - 1].time <= usual * GAP;
    const at = `${scale.x(point.time).toFixed(1)} ${scale.y(point.value).toFixed(1)}`;
    return joined ? `L${at}` : `M${at}h0`; // with round ends, a point that stands alone is a dot
  });
  const last = known.at(-1);
  return drawing("g", { class: `line line-${number}` },
    drawing("path", { d: d.join("") }),
    last && drawing("circle", { cx: scale.x(last.time), cy: scale.y(last.value), r: 2.5 }));
}

function showNearest(event, { lines, scale, format, readout, svg }) {
  const x = event.clientX - svg.getBoundingClientRect().left;
  const all = lines.flatMap((line) => line.points.filter((point) => Number.isFinite(point.value)));
  if (!all.length) return;
  const nearest = all.reduce((best, point) => (Math.abs(scale.x(point.time) - x) < Math.abs(scale.x(best.time) - x) ? point : best));
  const there = lines.map((line) => [line, line.points.find((point) => point.time === nearest.time)]);
  const said = there.filter(([, point]) => Number.isFinite(point?.value)).map(([line, point]) => valueOf(line, point.value, lines, format));
  readout.textContent = `${time(nearest.time, { hour: "2-digit", minute: "2-digit", second: "2-digit" })}  ${said.join(" · ")}`;
  svg.querySelector(".cursor")?.remove();
  const at = scale.x(nearest.time);
  svg.append(drawing("line", { class: "cursor", x1: at, x2: at, y1: PAD.top, y2: HEIGHT - PAD.bottom }));
}

function lastOf(line, lines, format) {
  const last = line.points.findLast((point) => Number.isFinite(point.value));
  return last && valueOf(line, last.value, lines, format);
}

/** A single line needs no name beside its value. */
const valueOf = ({ name }, value, lines, format) => (lines.length > 1 ? `${name} ${format(value)}` : format(value));

/** A screen reader's words for a chart: the last, lowest and highest value of each line. */
function labelOf(title, lines, format) {
  const said = lines.map(({ name, points }) => {
    const values = points.map((point) => point.value).filter(Number.isFinite);
    const heading = [title, lines.length > 1 && name].filter(Boolean).join(", ");
    if (!values.length) return t("chart.label.none", { title: heading });
    return t("chart.label", { title: heading, last: format(values.at(-1)), low: format(Math.min(...values)), high: format(Math.max(...values)) });
  });
  return said.join(" · ");
}
