// The passages of a question before and after: recall's order beside the order that counts, and who was dropped why.

import { element, put } from "./element.js";
import { t } from "./i18n.js";
import { said } from "./said.js";
import { scoreText } from "./score.js";

const SHOWN_BEFORE = 10;
const LONG = 240; // characters that fill more than the lines at first shown

/** An answer from the cache has no search: there are only the passages it was made from. */
export function drawPassages(place, { search, answer }) {
  const after = search ? afterOf(search) : (answer?.passages ?? []).map((passage, place) => ({ ...passage, number: place + 1 }));
  put(
    place,
    search && column("before", search.recalled.slice(0, SHOWN_BEFORE).map((found, place) => beforeRow(found, place + 1, search))),
    after.length > 0 && column(search ? "after" : "made-from", after.map(afterRow)),
  );
}

/** Where a passage stands in its source, as nodes: its name, heading, page. */
export function sourceOf({ source, heading, page }, id = "") {
  const name = String(source || id || "");
  return [
    element("bdi", { class: "source", title: name }, name.split(/[\\/]/).slice(-2).join("/")),
    heading && element("bdi", { class: "heading" }, String(heading)),
    page != null && element("span", {}, t("passage.page", { page: String(page) })),
  ];
}

const column = (name, rows) =>
  element("section", { class: `passages ${name}`, "aria-labelledby": `passages-${name}` },
    element("h3", { id: `passages-${name}` }, t(`passages.${name}`)),
    rows.length ? element("ol", {}, rows) : element("p", { class: "hint" }, t("passages.none")));

/** Every reranked passage: `number` is what it is cited by, `reason` why it is not in the prompt. */
function afterOf({ reranked, passages, dropped }) {
  const numbers = new Map(passages.map((passage, place) => [passage.id, place + 1]));
  const reasons = new Map(dropped.map((passage) => [passage.id, said(passage.reason, passage)]));
  return reranked.map((passage) => ({
    ...passage,
    number: numbers.get(passage.id) ?? null,
    reason: numbers.has(passage.id) ? "" : (reasons.get(passage.id) ?? t("passage.beyond", { n: passages.length })),
  }));
}

function beforeRow({ id, score }, rank, { reranked, dropped }) {
  const passage = reranked.find((each) => each.id === id);
  const twin = reranked.find((each) => each.merged.includes(String(id)));
  const drop = dropped.find((each) => each.id === id);
  const reason = drop ? said(drop.reason, drop) : (passage ? "" : twin ? t("passage.twin", { rank: twin.rank }) : t("passage.left", { n: reranked.length }));
  return row({ id, rank, score, reason, text: passage?.text, metadata: passage?.metadata ?? {} });
}

const afterRow = (passage) => row({ ...passage, move: passage.recall_rank - passage.rank });

function row({ id, rank, score, reason, text, metadata, number, move }) {
  const attributes = number ? { id: `ask-passage-${number}`, tabindex: -1 } : {};
  return element("li", { class: reason ? "passage dropped" : "passage", ...attributes },
    element("span", { class: "rank" }, String(rank)),
    element("div", { class: "passage-body" },
      element("p", { class: "notes" },
        number && element("span", { class: "tag" }, `[${number}]`),
        sourceOf(metadata, id),
        move !== undefined && moveMark(move),
        element("span", { class: "passage-score" }, score === null ? t("passage.unscored") : scoreText(score))),
      reason && element("p", { class: "reason", dir: "auto" }, reason),
      text && textOf(text)));
}

function moveMark(move) {
  const name = move > 0 ? "up" : move < 0 ? "down" : "same";
  const said = element("span", { class: "unseen" }, t(`card.move.${name}`, { n: Math.abs(move) }));
  const sign = { up: "↑", down: "↓", same: "=" }[name];
  return element("span", { class: `move ${name}` }, element("span", { "aria-hidden": "true" }, sign + (move ? Math.abs(move) : "")), said);
}

function textOf(text) {
  const shown = element("p", { class: "text", dir: "auto" }, text);
  if (text.length <= LONG && text.split("\n").length < 4) return shown;
  const toggle = (event) => event.currentTarget.setAttribute("aria-expanded", String(shown.classList.toggle("whole")));
  return [shown, element("button", { type: "button", class: "link", "aria-expanded": "false", on: { click: toggle } }, t("passage.whole"))];
}
