// An answer drawn: its text, its citations as markers that show their source, and how it was made.

import { element, put } from "./element.js";
import { number, t } from "./i18n.js";
import { sourceOf } from "./passages.js";
import { said } from "./said.js";

const MARKER = /\[(\d+)\]/g;
const QUOTED = 600; // characters of a passage beside its marker
const LINGER_MS = 200; // enough to move the pointer from a marker onto its source

/** `toPassage` is called with the number of a citation that was clicked. */
export function drawAnswer(place, { text, answer, busy, ended }, { toPassage }) {
  if (!answer) {
    return put(place, element("p", { class: `answer ${busy ? "waiting" : ""}`, dir: "auto" }, text), ended && element("p", { class: "note" }, t(`ask.${ended}`)));
  }
  const sources = new Map(answer.citations.map((citation) => [citation.number, sourceBox(citation, answer.passages)]));
  const words = answer.kind === "unknown" ? t("ask.unknown") : withMarkers(text, sources, toPassage);
  put(
    place,
    element("p", { class: `answer ${answer.kind}`, dir: "auto" }, words),
    [...sources.values()],
    madeOf(answer),
    answer.notes.map((note, place) => element("p", { class: "note caution", dir: "auto" }, said(note, answer.note_codes?.[place]))),
  );
}

function madeOf({ kind, generator, cached, seconds }) {
  return element("p", { class: "made" },
    element("span", { class: "made-how" }, t(`ask.kind.${kind}`, { name: generator })),
    cached && element("span", { class: "tag" }, t("ask.cached")),
    element("span", { class: "hint" }, t("ask.took", { seconds: number(seconds, { maximumSignificantDigits: 2 }) })));
}

/** What looks like a citation and is none stays text. */
function withMarkers(text, sources, toPassage) {
  const nodes = [];
  let from = 0;
  for (const { 0: found, 1: digits, index } of text.matchAll(MARKER)) {
    const box = sources.get(Number(digits));
    if (!box) continue;
    nodes.push(text.slice(from, index), marker(Number(digits), box, toPassage));
    from = index + found.length;
  }
  return [...nodes, text.slice(from)];
}

function marker(cited, box, toPassage) {
  let leaving = null;
  const show = () => {
    clearTimeout(leaving);
    box.hidden = false;
    placeUnder(button, box);
  };
  const hide = () => {
    clearTimeout(leaving);
    box.hidden = true;
  };
  const leave = () => (leaving = setTimeout(hide, LINGER_MS));
  const on = {
    pointerenter: show, focus: show, pointerleave: leave, blur: hide,
    keydown: (event) => event.key === "Escape" && hide(),
    click: () => {
      hide();
      toPassage(cited);
    },
  };
  const button = element("button", { type: "button", class: "cite", "aria-describedby": box.id, "aria-label": t("ask.cite", { n: cited }), on }, `[${cited}]`);
  box.addEventListener("pointerenter", () => box.hidden || clearTimeout(leaving));
  box.addEventListener("pointerleave", () => box.hidden || leave());
  return button;
}

/** Below the marker, or above it where the window ends; within the answer's width. */
function placeUnder(button, box) {
  const room = box.offsetParent.getBoundingClientRect();
  const at = button.getBoundingClientRect();
  const above = at.bottom + box.offsetHeight > innerHeight && at.top > box.offsetHeight;
  box.style.top = `${(above ? at.top - box.offsetHeight - 4 : at.bottom + 4) - room.top}px`;
  box.style.left = `${Math.max(0, Math.min(at.left - room.left, room.width - box.offsetWidth))}px`;
}

function sourceBox(citation, passages) {
  const { number: cited, start, end } = citation;
  const text = passages[cited - 1]?.text ?? "";
  return element("div", { class: "source-box", id: `ask-source-${cited}`, role: "tooltip", hidden: true },
    element("p", { class: "notes" }, sourceOf(citation), element("span", {}, t("passage.offsets", { start, end }))),
    element("p", { class: "text", dir: "auto" }, text.length > QUOTED ? `${text.slice(0, QUOTED)} …` : text));
}
