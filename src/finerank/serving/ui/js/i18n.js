// The page's two languages. Knows how to fill a message, not what it says.

import { CHINESE } from "./chinese.js";
import { ENGLISH } from "./english.js";

const MESSAGES = { en: ENGLISH, zh: CHINESE };
const STORED = "finerank.language";
const SLOT = /\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g;
const listeners = [];
const formats = new Map();

let language = localStorage.getItem(STORED);
if (!MESSAGES[language]) language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";

export const currentLanguage = () => language;

/** The message, with `{name}` filled in; `{n|one|many}` is the word that agrees with the number n. */
export const t = (name, values = {}) => filled(MESSAGES[language][name], values);

export function filled(message, values) {
  return message.replace(SLOT, (_, slot, one, many) => {
    const value = values[slot];
    if (one !== undefined) return value === 1 ? one : many;
    return typeof value === "number" ? number(value) : value;
  });
}

export const has = (name) => name in MESSAGES[language];

export const number = (value, options) => numberFormat(options).format(value).replace("-", "−");

export const twoDecimals = (value) => number(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const time = (seconds, options = { hour: "2-digit", minute: "2-digit" }) =>
  new Intl.DateTimeFormat(language, { hour12: false, ...options }).format(new Date(seconds * 1000));

/** Names a language code in the language itself: "zh" is 中文. */
export const nameOfLanguage = (code) => new Intl.DisplayNames([code], { type: "language" }).of(code);

export const onLanguage = (listener) => listeners.push(listener);

/** Kept: making one costs more than all else that a card needs. */
function numberFormat(options) {
  const name = JSON.stringify(options ?? {});
  if (!formats.has(name)) formats.set(name, new Intl.NumberFormat(language, options));
  return formats.get(name);
}

export function setLanguage(code) {
  formats.clear();
  language = code;
  localStorage.setItem(STORED, code);
  translate();
  for (const listener of listeners) listener();
}

/** Fills what the page itself says: data-t is the text, data-t-label, -title and -placeholder the attributes. */
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const [suffix, attribute] of [["label", "aria-label"], ["title", "title"], ["placeholder", "placeholder"]]) {
    for (const node of root.querySelectorAll(`[data-t-${suffix}]`)) {
      node.setAttribute(attribute, t(node.getAttribute(`data-t-${suffix}`)));
    }
  }
}
