// Whether reranking helped, in a sentence and four figures, and what the ranking took.

import { element, put } from "./element.js";
import { number, t, twoDecimals } from "./i18n.js";
import { kendallTau } from "./order.js";

const INDISTINCT_GAP = 0.1;
const LOW_SCORE = 0.3;
/* Both as in the definitions of ranking health. */

/** `results` best first, `answer` the position of the candidate known to answer, or null. */
export function drawVerdict(place, results, answer) {
  const [first, second] = results;
  const moved = results.filter((result) => result.index + 1 !== result.rank).length;
  const tau = kendallTau(results.map((result) => result.index));
  const gap = second ? first.score - second.score : null;
  put(
    place,
    element("p", { class: `headline ${headlineTone(results, answer)}` }, headline(results, answer)),
    element("dl", { class: "figures-row" },
      figure("verdict.moved", t("verdict.moved.value", { moved, n: results.length })),
      figure("verdict.tau", tau === null ? "–" : twoDecimals(tau)),
      figure("verdict.gap", gap === null ? "–" : gap.toFixed(4), gap !== null && gap < INDISTINCT_GAP && t("verdict.gap.small")),
      figure("verdict.best", first.score.toFixed(4), first.score < LOW_SCORE && t("verdict.best.low"))),
  );
}

function headline(results, answer) {
  const [first] = results;
  if (answer !== null) {
    const rank = results.find((result) => result.index === answer)?.rank;
    return t(rank === 1 ? "verdict.answer.first" : "verdict.answer.missed", { rank: rank ?? "–", given: answer + 1 });
  }
  if (results.length === 1) return t("verdict.single");
  return first.index === 0 ? t("verdict.same") : t("verdict.new", { given: first.index + 1 });
}

function headlineTone(results, answer) {
  if (answer === null) return results[0].index === 0 ? "same" : "changed";
  return results[0].index === answer ? "right" : "wrong";
}

const figure = (name, value, caution) =>
  element("div", { title: t(`${name}.title`) },
    element("dt", {}, t(name)),
    element("dd", {}, value, caution && element("span", { class: "caution" }, caution)));

/** Device, precision, model, time, pairs a second, cached. */
export function drawStrip(place, answer) {
  const { usage, timings } = answer;
  const rate = timings.total_ms > 0 ? usage.pairs / (timings.total_ms / 1000) : null;
  const timing = ["queue", "encode", "forward"].map((stage) => `${t(`strip.${stage}`)} ${milliseconds(timings[`${stage}_ms`] ?? 0)}`);
  put(
    place,
    cell("strip.device", answer.device),
    cell("strip.precision", answer.precision),
    cell("strip.model", answer.model),
    cell("strip.time", milliseconds(timings.total_ms), timing.join(" · ")),
    cell("strip.rate", rate === null ? "–" : number(rate, { maximumFractionDigits: rate < 10 ? 1 : 0 })),
    cell("strip.cached", t("strip.cached.value", { cached: usage.cached, n: usage.pairs })),
    cell("strip.tokens", number(usage.tokens)),
  );
}

const cell = (name, value, title) => element("div", { title }, element("dt", {}, t(name)), element("dd", {}, element("bdi", {}, value)));

const milliseconds = (ms) => (ms < 1000 ? `${number(ms, { maximumFractionDigits: ms < 10 ? 1 : 0 })} ms` : `${number(ms / 1000, { maximumFractionDigits: 2 })} s`);
