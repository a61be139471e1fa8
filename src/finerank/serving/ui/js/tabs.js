// The tabs: arrow keys move between them, the address keeps the one chosen.

import { byId } from "./element.js";

/** `shown` and `hidden` are called with a panel's name. */
export function startTabs(names, { shown, hidden }) {
  const tabs = names.map((name) => byId(`tab-${name}`));
  let current = null;

  function show(name) {
    if (name === current) return;
    if (current) hidden(current);
    current = name;
    names.forEach((other, number) => {
      const chosen = other === name;
      byId(other).hidden = !chosen;
      tabs[number].setAttribute("aria-selected", String(chosen));
      tabs[number].tabIndex = chosen ? 0 : -1;
    });
    shown(name);
  }

  function open(name) {
    history.replaceState(null, "", `#${name}`);
    show(name);
  }

  tabs.forEach((tab, number) => {
    tab.addEventListener("click", () => open(names[number]));
    tab.addEventListener("keydown", (event) => {
      const seen = names.filter((_, other) => !tabs[other].hidden);
      const at = seen.indexOf(names[number]);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: seen.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const target = seen[(to + seen.length) % seen.length];
      open(target);
      byId(`tab-${target}`).focus();
    });
  });
  const fromAddress = () => (names.includes(location.hash.slice(1)) ? location.hash.slice(1) : names[0]);
  addEventListener("hashchange", () => names.includes(location.hash.slice(1)) && show(fromAddress()));
  show(fromAddress());
  return open;
}
