// A question's way drawn: a bar for every stage, as wide as the passages it left, and which order counts.

import { element, put } from "./element.js";
import { has, number, t } from "./i18n.js";
import { said } from "./said.js";

/** What went to the prompt is known once the search is. */
export function drawFunnel(place, { stages, search, answer, busy, ended }) {
  const bars = search ? [...stages, { name: "prompt", kept: search.passages.length, seconds: null }] : stages;
  const widest = Math.max(1, ...bars.map((stage) => stage.kept));
  put(
    place,
    bars.map((stage) => barOf(stage, widest)),
    !bars.length && element("li", { class: `hint ${busy && !answer ? "waiting" : ""}` }, t(answer ? "ask.way.none" : ended ? `ask.${ended}` : "ask.way.waiting")),
  );
}

function barOf({ name, given, kept, seconds }, widest) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${(kept / widest) * 100}%`;
  const counted = name !== "rewrite"; // it makes a query, not passages
  return element("li", { class: "stage", "data-stage": name, title: given ? t("stage.given", { given, kept }) : null },
    element("span", { class: "stage-name" }, has(`stage.${name}`) ? t(`stage.${name}`) : name),
    element("span", { class: "bar" }, fill),
    element("span", { class: "kept" }, counted ? number(kept) : ""),
    element("span", { class: "took" }, seconds === null ? "" : t("stage.took", { ms: milliseconds(seconds) })));
}

/** The search's notes are among the answer's once there is one. */
export function drawDecision(place, { search, answer }) {
  if (!search) return put(place);
  const { decision, question, query, notes, note_codes: codes = [] } = search;
  put(
    place,
    element("p", {}, element("strong", {}, t(`decision.${decision.order}`)), " ", element("bdi", {}, said(decision.why, decision))),
    query !== question && element("p", { class: "hint" }, t("decision.query"), " ", element("bdi", {}, query)),
    !answer && notes.map((note, place) => element("p", { class: "note", dir: "auto" }, said(note, codes[place]))),
  );
}

const milliseconds = (seconds) => number(seconds * 1000, seconds < 0.001 ? { maximumSignificantDigits: 1 } : { maximumFractionDigits: seconds < 0.01 ? 1 : 0 });
