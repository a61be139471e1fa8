// Shows some of the results: those with a text in them, and with a score in a range. Ranks stay as they are.

import { byId } from "./element.js";
import { onLanguage, t } from "./i18n.js";

const [text, low, high] = ["filter-text", "filter-low", "filter-high"].map(byId);

let cards = []; // best first
let searched = new WeakMap(); // a card to its text as it is searched

/** Case, width and composition of letters do not count: "ＡＢＣ" finds "abc". */
const folded = (value) => value.normalize("NFKC").toLowerCase();

export function startFilter() {
  for (const field of [text, low, high]) field.addEventListener("input", apply);
  byId("filter-clear").addEventListener("click", () => {
    for (const field of [text, low, high]) field.value = "";
    apply();
    text.focus();
  });
  onLanguage(() => {
    searched = new WeakMap(); // a card's name is in the page's language
    apply();
  });
}

/** The cards to choose among, best first. */
export function filterCards(sorted) {
  cards = sorted;
  apply();
}

function apply() {
  const wanted = folded(text.value.trim());
  const [from, to] = [edge(low, 0), edge(high, 1)];
  const active = Boolean(wanted) || from > 0 || to < 1;
  let shown = 0;
  for (const card of cards) {
    const fits = !active || (within(card.known.score, from, to) && textOf(card).includes(wanted));
    card.node.hidden = !fits;
    shown += fits;
  }
  byId("filter").hidden = cards.length < 2 && !active;
  byId("filter-clear").hidden = !active;
  byId("filter-count").textContent = active ? t("filter.shown", { shown, n: cards.length }) : "";
}

/** Edges are compared as scores are shown: with four decimals. */
const within = (score, from, to) => Number(score.toFixed(4)) >= from && Number(score.toFixed(4)) <= to;

const edge = (field, otherwise) => (Number.isFinite(field.valueAsNumber) ? field.valueAsNumber : otherwise);

function textOf(card) {
  if (!searched.has(card)) searched.set(card, folded(`${card.name}\n${card.text}`));
  return searched.get(card);
}
