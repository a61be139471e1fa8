// Light and dark: the system's, unless a person chooses.

import { element } from "./element.js";
import { preference, setPreference } from "./preference.js";

const NEXT = { system: "light", light: "dark", dark: "system" };
const SIGNS = { system: "◐", light: "○", dark: "●" };

let theme = NEXT[preference("theme", "system")] ? preference("theme", "system") : "system";
document.documentElement.dataset.theme = theme;

/** The theme's button; `describe` gives its words, and is asked again when the language changes. */
export function themeButton(button, describe) {
  const draw = () => {
    button.replaceChildren(element("span", { "aria-hidden": "true" }, SIGNS[theme]));
    button.setAttribute("aria-label", describe(theme));
    button.title = describe(theme);
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    document.documentElement.dataset.theme = theme;
    setPreference("theme", theme);
    draw();
  });
  draw();
  return draw;
}
