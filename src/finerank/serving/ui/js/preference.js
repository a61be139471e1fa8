// What outlives a visit: a person's choices, never their text. Text is kept for this tab alone.

const NAME = "finerank.";

export const preference = (name, otherwise) => parse(localStorage.getItem(NAME + name), otherwise);

export const setPreference = (name, value) => localStorage.setItem(NAME + name, JSON.stringify(value));

/** The text of this tab: survives a reload, and goes when the tab is closed. */
export const draft = (name) => parse(sessionStorage.getItem(NAME + name), "");

/** False if the browser has no room for the text: it then does not survive a reload. */
export function keepDraft(name, text) {
  try {
    sessionStorage.setItem(NAME + name, JSON.stringify(text));
    return true;
  } catch {
    sessionStorage.removeItem(NAME + name); // better none than an old one
    return false;
  }
}

function parse(stored, otherwise) {
  try {
    return stored === null ? otherwise : JSON.parse(stored);
  } catch {
    return otherwise;
  }
}
