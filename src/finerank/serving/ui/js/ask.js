// The Ask tab: sends a question, and shows the funnel, the passages and the answer as they come.

import { drawAnswer } from "./answer.js";
import { stream } from "./api.js";
import { byId, element, put } from "./element.js";
import { drawDecision, drawFunnel } from "./funnel.js";
import { onLanguage, t, translate } from "./i18n.js";
import { drawPassages } from "./passages.js";
import { draft, keepDraft } from "./preference.js";
import { explainProblem } from "./problem.js";
import { onServer, server } from "./server.js";
import { copyButtons } from "./snippet.js";

const panel = byId("ask");
const parts = makeParts();

const TAKE = {
  stage: (mine, stage) => mine.stages.push(stage),
  search: (mine, search) => (mine.search = search),
  text: (mine, { text }) => (mine.text += text),
  answer: (mine, answer) => Object.assign(mine, { answer, text: answer.answer }),
};

const DRAW = {
  stage: [drawWay],
  search: [drawWay, drawLists],
  text: [drawText],
  answer: [drawWay, drawText, drawListsOfCached],
};

let run = null; // the question asked last
let shown = null; // the one on the page: it stays until the first event of the next
let problem = null;
let needsKey = null;

export function startAsk(askForKey) {
  needsKey = askForKey;
  put(panel, parts.form, parts.live, parts.failure, parts.empty, parts.outcome);
  translate(panel);
  parts.question.value = draft("question");
  parts.question.addEventListener("input", () => {
    sayProblem("");
    keepDraft("question", parts.question.value);
  });
  parts.form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  parts.stop.addEventListener("click", () => run.abort.abort());
  addEventListener("keydown", (event) => {
    if (panel.hidden || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    ask();
  });
  if (/Mac|iP/.test(navigator.platform)) parts.run.querySelector("kbd").textContent = "⌘ ↵";
  onServer(showTab);
  onLanguage(draw);
  draw();
  return { shown: leaveWithoutStore, hidden: () => {} };
}

function showTab() {
  byId("tab-ask").hidden = !server.info?.ask;
  leaveWithoutStore();
}

/** The address may name this tab although the server has no store. */
function leaveWithoutStore() {
  if (!panel.hidden && server.info && !server.info.ask) location.hash = "#rerank";
}

/** The question in the field, as a caller would send it. */
function requestToCopy() {
  const question = parts.question.value.trim();
  sayProblem(question ? "" : t("ask.no-question"));
  return question ? { path: "finerank/v1/ask", body: { question } } : null;
}

async function ask() {
  const question = parts.question.value.trim();
  sayProblem("");
  if (!question) return sayProblem(t("ask.no-question"));
  run?.abort.abort();
  const mine = (run = { question, stages: [], search: null, text: "", answer: null, busy: true, ended: "", abort: new AbortController() });
  problem = null;
  drawFailure();
  showBusy();
  try {
    for await (const { event, data } of stream("finerank/v1/ask", { question }, { signal: mine.abort.signal, last: "answer" })) take(mine, event, data);
  } catch (error) {
    mine.ended = error.name === "AbortError" ? "stopped" : "broken";
    if (mine.ended === "broken") fail(mine, error);
  } finally {
    mine.busy = false;
    if (run === mine) settle();
  }
}

function take(mine, event, data) {
  if (run !== mine || !TAKE[event]) return;
  TAKE[event](mine, data);
  if (shown === mine) return DRAW[event].forEach((drawPart) => drawPart());
  shown = mine;
  draw();
}

function settle() {
  showBusy();
  if (shown === run && !run.answer) [drawWay, drawText].forEach((drawPart) => drawPart());
  const how = run.answer ? t(`ask.kind.${run.answer.kind}`, { name: run.answer.generator }) : "";
  const said = run.answer && run.answer.kind !== "unknown" ? t("ask.live.done", { how }) : how;
  parts.live.textContent = said || (run.abort.signal.aborted ? t("live.stopped") : "");
}

/** A failed request takes nothing away: the question stays, and so does what came before it failed. */
function fail(mine, error) {
  if (run !== mine) return;
  if (explainProblem(error).field === "key") return needsKey(error, ask);
  if (["question", "query"].includes(error.field)) return sayProblem(sayingOf(error).join(" "));
  problem = error;
  drawFailure();
  parts.failure.scrollIntoView({ block: "nearest" });
}

function sayingOf(error) {
  const { headline, detail } = explainProblem(error);
  return [["cut", "timeout"].includes(error.kind) ? t(`ask.${error.kind}`) : headline, detail].filter(Boolean);
}

function sayProblem(text) {
  parts.problem.textContent = text;
  parts.question.removeAttribute("aria-invalid");
  if (!text) return;
  parts.question.setAttribute("aria-invalid", "true");
  parts.question.focus();
}

function showBusy() {
  const { busy } = run;
  panel.classList.toggle("busy", busy);
  if (!busy && document.activeElement === parts.stop) parts.run.focus(); // a hidden button has no focus
  parts.stop.hidden = !busy;
  parts.run.setAttribute("aria-busy", String(busy));
  if (busy) parts.live.textContent = t("ask.live.started");
}

function draw() {
  drawFailure();
  drawEmpty();
  parts.outcome.hidden = !shown;
  if (!shown) return;
  put(parts.asked, shown.question);
  drawWay();
  drawText();
  drawLists();
}

function drawFailure() {
  parts.failure.hidden = !problem;
  if (!problem) return put(parts.failure);
  const [headline, detail] = sayingOf(problem);
  put(
    parts.failure,
    element("p", {}, element("strong", {}, headline)),
    detail && element("p", {}, detail),
    element("p", {}, element("button", { type: "button", on: { click: ask } }, t("again")), " ", element("span", { class: "hint" }, t("ask.kept"))),
  );
}

function drawEmpty() {
  parts.empty.hidden = Boolean(shown);
  put(
    parts.empty,
    element("h3", {}, t("ask.empty")),
    element("ol", { class: "steps" }, [1, 2, 3].map((step) => element("li", {}, t(`ask.empty.step${step}`)))),
  );
}

function drawWay() {
  drawFunnel(parts.funnel, shown);
  drawDecision(parts.decision, shown);
}

function drawText() {
  drawAnswer(parts.answer, shown, { toPassage });
}

function drawLists() {
  drawPassages(parts.passages, shown);
}

function drawListsOfCached() {
  if (!shown.search) drawLists();
}

function toPassage(number) {
  const passage = byId(`ask-passage-${number}`);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  passage.scrollIntoView({ block: "center", behavior: still ? "auto" : "smooth" });
  passage.focus({ preventScroll: true });
}

function makeParts() {
  const made = {
    question: element("textarea", { id: "question", rows: 2, dir: "auto", "data-t-placeholder": "ask.placeholder", "aria-describedby": "question-problem" }),
    problem: element("p", { class: "problem", id: "question-problem", role: "alert" }),
    run: element("button", { type: "submit", class: "primary", id: "ask-run" }, element("span", { "data-t": "ask.run" }), " ", element("kbd", {}, "Ctrl ↵")),
    stop: element("button", { type: "button", id: "ask-stop", "data-t": "stop", hidden: true }),
    live: element("p", { class: "unseen", role: "status", "aria-live": "polite" }),
    failure: element("div", { class: "problem-box", id: "ask-failure", role: "alert", hidden: true }),
    empty: element("div", { class: "ask-empty", id: "ask-empty" }),
    asked: element("h2", { class: "headline", dir: "auto" }),
    funnel: element("ol", { class: "funnel", id: "ask-funnel" }),
    decision: element("div", { class: "decision", id: "ask-decision" }),
    answer: element("div", { class: "answer-box", id: "ask-answer" }),
    passages: element("div", { class: "before-after" }),
  };
  made.form = element("form", { class: "asker", novalidate: true },
    element("div", { class: "field" },
      element("div", { class: "field-head" }, element("label", { for: "question", "data-t": "ask.label" })),
      made.question, made.problem),
    element("div", { class: "actions" }, made.run, made.stop, element("p", { class: "hint", "data-t": "ask.how" }), copyButtons(requestToCopy)));
  made.outcome = element("div", { class: "asked", id: "asked", hidden: true },
    made.asked,
    element("section", { class: "way", "aria-labelledby": "ask-way" }, element("h3", { id: "ask-way", "data-t": "ask.way" }), made.funnel, made.decision),
    element("section", { class: "answered", "aria-labelledby": "ask-answered" }, element("h3", { id: "ask-answered", "data-t": "ask.answer" }), made.answer),
    made.passages);
  return made;
}
