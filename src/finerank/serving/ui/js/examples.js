// The keyword traps to click: languages, and the queries of the one chosen.

import { element, put } from "./element.js";
import { currentLanguage, nameOfLanguage, t } from "./i18n.js";

let chosen = null; // the language whose traps are shown, once a person has picked one

/** Draws the traps into `place`; `understood` are the model's languages if it names them. */
export function drawExamples(place, examples, { choose, understood }) {
  if (!examples.length) return put(place);
  const languages = [...new Set(examples.map((example) => example.lang))];
  const wanted = chosen ?? (reads(understood, currentLanguage()) ? currentLanguage() : understood[0]);
  const shown = languages.includes(wanted) ? wanted : languages[0];
  const redraw = (language) => {
    chosen = language;
    drawExamples(place, examples, { choose, understood });
    place.querySelector("[aria-pressed=true]").focus();
  };
  put(
    place,
    element("div", { class: "languages", role: "group", "aria-label": t("examples.language") },
      languages.map((language) => languageButton(language, language === shown, redraw))),
    !reads(understood, shown) && element("p", { class: "hint caution" }, t("examples.foreign", { languages: understood.map(nameOfLanguage).join(", ") })),
    element("ul", { class: "traps" },
      examples.filter((example) => example.lang === shown).map((example) =>
        element("li", {}, trapButton(example, choose)))),
  );
}

const reads = (understood, language) => !understood?.length || understood.includes(language);

const languageButton = (language, pressed, pick) =>
  element("button", { type: "button", class: "chip", lang: language, "aria-pressed": String(pressed), on: { click: () => pick(language) } }, nameOfLanguage(language));

const trapButton = (example, choose) =>
  element("button", { type: "button", class: "trap", lang: example.lang, on: { click: () => choose(example) } },
    element("span", { dir: "auto" }, example.query),
    element("span", { class: "hint", "aria-label": t("count", { n: example.passages.length }) }, String(example.passages.length)));
