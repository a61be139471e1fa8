// Starts the page: language, theme, tabs, the key, and what the server says of itself.

import { key } from "./api.js";
import { startAsk } from "./ask.js";
import { startCompare } from "./compare.js";
import { byId, element, put } from "./element.js";
import { startHealth } from "./health.js";
import { currentLanguage, onLanguage, setLanguage, t, translate } from "./i18n.js";
import { explainProblem } from "./problem.js";
import { startRerank } from "./rerank.js";
import { askServer, defaultModel, onServer, server, watchServer } from "./server.js";
import { startTabs } from "./tabs.js";
import { themeButton } from "./theme.js";

const waitingForKey = new Map(); // by the function's name: the same question is asked once
let neededKey = null; // what it has to allow

function needsKey(problem, again) {
  neededKey = problem.scope;
  waitingForKey.set(again.name || again, again);
  const form = byId("key-form");
  if (form.hidden || problem !== server.problem) {
    form.hidden = false;
    byId("key").focus();
  }
  byId("key-note").textContent = t(neededKey ? `key.note.${neededKey}` : "key.note");
  byId("key-problem").textContent = key.get(neededKey) ? t("key.refused") : "";
}

function startKey() {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key.set(byId("key").value.trim(), neededKey);
    byId("key").value = "";
    byId("key-form").hidden = true;
    const again = [...waitingForKey.values()];
    waitingForKey.clear();
    for (const ask of again) ask();
  });
}

function drawServer() {
  const { info, problem } = server;
  if (problem && explainProblem(problem).field === "key") needsKey(problem, askServer);
  const [state, text] = stateNow(info, problem);
  const place = byId("server");
  if (place.dataset.state === state && place.dataset.text === text) return; // a screen reader would say it every time
  Object.assign(place.dataset, { state, text });
  put(
    place,
    element("span", { class: `dot ${state}`, "aria-hidden": "true" }),
    element("span", { class: "server-name", title: info && t("server.version", { version: info.version }) }, text),
  );
}

/** `[state, text]`: what is known now, not what was known before the server went away. */
function stateNow(info, problem) {
  if (problem) return ["failed", explainProblem(problem).headline];
  if (!info) return ["loading", t("server.asking")];
  if (info.state !== "ready") return [info.state, t(`server.${info.state}`)];
  const model = defaultModel();
  return ["ready", [model?.name, model?.device, model?.precision].filter(Boolean).join(" · ") || t("server.ready")];
}

function startLanguage() {
  const button = byId("language");
  const draw = () => {
    const other = currentLanguage() === "zh" ? "en" : "zh";
    button.textContent = other === "zh" ? "中文" : "English";
    button.lang = other;
    document.title = t("page.title");
  };
  button.addEventListener("click", () => setLanguage(currentLanguage() === "zh" ? "en" : "zh"));
  onLanguage(draw);
  draw();
}

translate();
startLanguage();
onLanguage(themeButton(byId("theme"), (theme) => t(`theme.${theme}`)));
startKey();
onServer(drawServer);
onLanguage(drawServer);
drawServer();
startRerank(needsKey);
const panels = { ask: startAsk(needsKey), compare: startCompare(needsKey), health: startHealth(needsKey) };
startTabs(["rerank", "ask", "compare", "health"], {
  shown: (name) => panels[name]?.shown(),
  hidden: (name) => panels[name]?.hidden(),
});
watchServer();
