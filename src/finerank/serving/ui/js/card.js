// One result: rank, move, score, bar, the text with what mattered in it, and its explanation when opened.

import { element, put } from "./element.js";
import { drawExplanation } from "./explanation.js";
import { t } from "./i18n.js";
import { bandOf, isOver, logitText, scoreText } from "./score.js";
import { excerpt, markedText, unitsOf } from "./spans.js";

/**
 * A card for the candidate at `index` (the caller's position, from 0). `ask` is called when its explanation is wanted.
 * `update` takes what is known by now; what it does not name stays as it is.
 */
export function makeCard({ index, document: candidate, answer, ask }) {
  const known = { rank: null, score: 0, logit: 0, truncated: false, bestSpan: null, shared: [], explanation: null, final: false, problem: null };
  const units = unitsOf(candidate.text);
  const parts = makeParts();
  const { node } = parts;
  let open = false;
  let drawn = "";
  let threshold = 0.5;

  function toggle(wanted = !open) {
    open = wanted;
    node.classList.toggle("open", open);
    parts.toggle.setAttribute("aria-expanded", String(open));
    parts.explanation.hidden = !open;
    drawText();
    drawInside();
    if (open && !known.explanation?.complete) ask(index);
  }

  function drawText() {
    const { text } = candidate;
    const marks = marksOf(known, units, text);
    const focus = marks.find((mark) => mark.name === "deciding") ?? marks.find((mark) => mark.name === "best");
    const ranges = open ? [[0, text.length]] : excerpt(text, focus);
    const looks = JSON.stringify([ranges, marks]);
    if (looks === drawn) return; // drawn anew, it would lose what a person is selecting in it
    drawn = looks;
    const pieces = ranges.map(([from, to]) => markedText(text, marks, from, to));
    const rest = ranges.at(-1)[1] < text.length;
    put(parts.text, pieces.flatMap((piece, number) => (number ? [" … ", ...piece] : piece)), rest && " …");
  }

  function drawFigures() {
    parts.rank.textContent = known.rank ?? "";
    parts.score.textContent = scoreText(known.score);
    parts.logit.textContent = t("card.logit", { logit: logitText(known.logit) });
    parts.fill.style.width = `${known.score * 100}%`;
    const band = bandOf(known.score);
    parts.band.className = `band ${band}`;
    parts.band.textContent = t(`band.${band}`);
    const move = known.final ? index + 1 - known.rank : null;
    parts.move.className = `move ${moveName(move)}`;
    put(parts.move, moveText(move));
    node.classList.toggle("provisional", !known.final);
    drawNotes(move);
    drawThreshold();
  }

  const nameNow = () => (candidate.id === undefined ? t("card.candidate", { n: index + 1 }) : String(candidate.id));

  function drawNotes(move) {
    const name = nameNow();
    put(
      parts.notes,
      answer && element("span", { class: "tag answer" }, t("card.answer")),
      known.truncated && element("span", { class: "tag cut", title: t("card.cut.why") }, t("card.cut")),
      element("bdi", { class: "given" }, name),
      known.probability != null && element("span", {}, t("card.probability", { p: known.probability.toFixed(4) })),
    );
    const said = { rank: known.rank ?? "", name, move: move === null ? "" : t(`card.move.${moveName(move)}`, { n: Math.abs(move) }), score: scoreText(known.score), band: t(`band.${bandOf(known.score)}`) };
    parts.toggle.setAttribute("aria-label", t("card.label", said));
    parts.toggle.title = t("card.explain");
  }

  function drawThreshold() {
    const over = isOver(known.score, threshold);
    node.classList.toggle("over", over);
    node.classList.toggle("under", !over);
    parts.tick.style.left = `${threshold * 100}%`;
  }

  function drawInside() {
    if (open) drawExplanation(parts.explanation, known, { again: () => ask(index) });
  }

  parts.toggle.addEventListener("click", () => toggle());
  parts.surface.addEventListener("click", (event) => {
    if (!event.target.closest("button, a") && getSelection().isCollapsed) toggle();
  });
  drawText();

  return {
    node,
    index,
    toggle,
    get name() {
      return nameNow();
    },
    get text() {
      return candidate.text;
    },
    get known() {
      return known;
    },
    focus: () => parts.toggle.focus(),
    update(news) {
      Object.assign(known, news);
      if ("shared" in news || "explanation" in news || "bestSpan" in news) drawText();
      if ("score" in news || "rank" in news) drawFigures();
      if ("explanation" in news || "problem" in news) drawInside();
    },
    setThreshold(value) {
      threshold = value;
      drawThreshold();
    },
    draw() {
      parts.draw();
      drawFigures();
      drawInside();
    },
  };
}

/** Marks in UTF-16 offsets: the deciding sentence, the best passage of a chunked document, the shared words. */
function marksOf({ shared, explanation, bestSpan }, units, text) {
  const place = ([start, end], name) => ({ start: units(start), end: units(end), name });
  const deciding = decidingSentence(explanation);
  const singled = [deciding && place(deciding.span, "deciding"), bestSpan && place(bestSpan, "best")].filter(Boolean);
  return [...singled.filter((mark) => !isWhole(mark, text)), ...shared.map((span) => place(span, "shared"))];
}

/** A mark on all of a text says nothing: there is no other sentence that it could have been. */
const isWhole = ({ start, end }, text) => !(text.slice(0, start) + text.slice(end)).trim();

/** The sentence whose absence costs most; none if no sentence speaks for the document. */
export function decidingSentence(explanation) {
  const sentences = explanation?.sentences ?? [];
  const best = sentences.reduce((best, sentence) => (best && best.drop >= sentence.drop ? best : sentence), null);
  return best?.drop > 0 ? best : null;
}

const moveName = (move) => (move === null ? "unknown" : move > 0 ? "up" : move < 0 ? "down" : "same");

function moveText(move) {
  if (move === null) return "";
  const sign = element("span", { "aria-hidden": "true" }, move > 0 ? "↑" : move < 0 ? "↓" : "=");
  return [sign, move === 0 ? "" : String(Math.abs(move))];
}

function makeParts() {
  const parts = {
    rank: element("span", { class: "rank" }),
    move: element("span", { class: "move" }),
    text: element("p", { class: "text", dir: "auto" }),
    notes: element("p", { class: "notes" }),
    score: element("span", { class: "score" }),
    band: element("span", { class: "band" }),
    logit: element("span", { class: "logit" }),
    fill: element("span", { class: "fill" }),
    tick: element("span", { class: "tick" }),
    toggle: element("button", { type: "button", class: "toggle", "aria-expanded": "false" }),
    explanation: element("div", { class: "explanation", hidden: true }),
  };
  parts.surface = element("div", { class: "surface" },
    element("div", { class: "place" }, parts.rank, parts.move),
    element("div", { class: "content" }, parts.text, parts.notes),
    element("div", { class: "figures" },
      element("div", { class: "score-line" }, parts.score, parts.band, parts.toggle),
      element("div", { class: "bar" }, parts.fill, parts.tick),
      parts.logit));
  parts.draw = () => put(parts.toggle, element("span", { class: "why" }, t("card.why")), element("span", { class: "chevron", "aria-hidden": "true" }));
  parts.draw();
  parts.node = element("li", { class: "card" }, parts.surface, parts.explanation);
  return parts;
}
