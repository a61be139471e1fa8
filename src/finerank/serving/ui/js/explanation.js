// An explanation drawn: the share of every sentence, and of every word of the sentence that decided.

import { element, put } from "./element.js";
import { t } from "./i18n.js";

/** Draws what is known into `place`: the explanation, the reason there is none, or that it is on its way. */
export function drawExplanation(place, { explanation, problem }, { again }) {
  if (problem) {
    const button = element("button", { type: "button", class: "link", on: { click: again } }, t("again"));
    return put(place, element("p", { class: "problem", role: "alert" }, `${problem} `, button));
  }
  if (!explanation) return put(place, element("p", { class: "hint waiting", role: "status" }, t("explain.waiting")));
  const drops = explanation.sentences.map((sentence) => sentence.drop);
  const largest = Math.max(...drops);
  const choice = drops.length > 1; // a single sentence decides nothing
  put(
    place,
    element("h3", {}, t("explain.sentences")),
    largest <= 0 && element("p", { class: "hint caution" }, t("explain.none")),
    element("ol", { class: "sentences" }, explanation.sentences.map((sentence) => sentenceRow(sentence, choice && sentence.drop === largest && largest > 0))),
    element("h3", {}, t(choice ? "explain.words" : "explain.words.single")),
    explanation.complete
      ? element("ol", { class: "words", dir: "auto" }, explanation.words.map(wordChip))
      : element("p", { class: "hint waiting", role: "status" }, t("explain.waiting")),
    element("p", { class: "hint" }, t("explain.how")),
  );
}

function sentenceRow({ text, drop, share }, deciding) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${share * 100}%`;
  return element("li", { class: deciding ? "deciding" : "" },
    element("span", { class: "share" }, percent(share)),
    element("span", { class: "bar" }, fill),
    element("span", { class: "drop", title: t("explain.drop.title") }, signed(drop)),
    element("span", { class: "piece", dir: "auto" }, text, deciding && element("span", { class: "unseen" }, ` (${t("explain.deciding")})`)));
}

function wordChip({ text, drop, share }) {
  const chip = element("li", { class: drop < 0 ? "against" : "", title: t("explain.drop", { drop: signed(drop) }) },
    element("bdi", {}, text), element("span", { class: "share" }, percent(share)));
  chip.style.setProperty("--share", String(share));
  return chip;
}

const percent = (share) => `${Math.round(share * 100)}%`;

const signed = (drop) => (drop < 0 ? "−" : "+") + Math.abs(drop).toFixed(2);
