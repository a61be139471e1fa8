// The Rerank tab: sends what is in the fields, and shows the ranking as it is computed.

import { get, post, stream } from "./api.js";
import { makeCard } from "./card.js";
import { clearProblems, drawCount, fieldsNow, onInput, readRequest, showProblem, startComposer, useExample } from "./composer.js";
import { byId, element, put } from "./element.js";
import { drawEmpty } from "./empty.js";
import { drawExamples } from "./examples.js";
import { startExplainer } from "./explainer.js";
import { onLanguage, t } from "./i18n.js";
import { filterCards, startFilter } from "./filter.js";
import { explainProblem } from "./problem.js";
import { saidText } from "./said.js";
import { defaultModel, models, onServer, server } from "./server.js";
import { copyButtons } from "./snippet.js";
import { drawTable } from "./table.js";
import { onThreshold, showScores, startThreshold, threshold } from "./threshold.js";
import { drawStrip, drawVerdict } from "./verdict.js";

const EXPLAINED_AT_ONCE = 5;
const list = byId("cards");

let run = null; // the ranking asked for last: its request, and how to stop it
let shown = null; // the one on the page, with its cards and answer: it stays until the first scores of the next
let examples = [];
let needsKey = null; // shows the field for the key, and calls back once there is one

/** What Compare can use again: the request of the last finished ranking, and its answer. */
export const lastRanking = () => (shown?.answer ? { request: shown.request, model: shown.model, answer: shown.answer } : null);

export const chosenModel = () => byId("model").value || defaultModel()?.name || null;

export function startRerank(askForKey) {
  needsKey = askForKey;
  startComposer();
  startThreshold();
  startFilter();
  byId("actions").append(copyButtons(requestToCopy));
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    rank();
  });
  addEventListener("keydown", (event) => {
    if (byId("rerank").hidden || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    rank();
  });
  if (/Mac|iP/.test(navigator.platform)) byId("run").querySelector("kbd").textContent = "⌘ ↵";
  byId("stop").addEventListener("click", () => run.abort.abort());
  list.addEventListener("keydown", moveBetweenCards);
  onThreshold((value) => shown?.cards.forEach((card) => card.setThreshold(value)));
  onInput(() => (byId("stale").hidden = !shown || shown.fields === fieldsNow()));
  byId("raw").addEventListener("toggle", drawRaw);
  onServer(drawModels);
  onLanguage(draw);
  draw();
}

/** Asked for again whenever the server has answered, until they are there. */
async function loadExamples() {
  if (examples.length || !server.info) return;
  try {
    examples = (await get("finerank/v1/examples")).examples;
    drawAllExamples();
  } catch (problem) {
    console.info(`no examples: ${problem.kind}`); // the server's state is said at the top of the page
  }
}

function choose(example) {
  useExample(example);
  rank();
}

async function rank(longDocuments = null) {
  const request = readRequest();
  if (!request) return;
  run?.abort.abort();
  if (shown) pauseExtras(shown);
  const mine = (run = startRun(request, longDocuments));
  showBusy(true);
  try {
    for await (const { event, data } of stream("finerank/v1/rerank", bodyOf(request, longDocuments), { signal: mine.abort.signal })) {
      if (run !== mine) return;
      if (event === "progress") showProgress(mine, data);
      else if (event === "result") finish(mine, data);
    }
  } catch (problem) {
    if (run === mine) end(mine, problem.name === "AbortError" ? "stopped" : "broken");
    if (run === mine && problem.name !== "AbortError") fail(mine, problem);
  } finally {
    if (run === mine) showBusy(false);
  }
}

/** A ranking that ended early keeps the scores that came. Without any, the one before stays. */
function end(mine, how) {
  placeWaiting(mine);
  mine.ended = how;
  byId("live").textContent = how === "stopped" ? t("live.stopped") : "";
  if (shown === mine) drawUnfinished();
  if (shown?.answer) startExtras(shown);
  else if (shown) startExplaining(shown, { halted: true });
}

/** The request in the fields, as a caller would send it. */
function requestToCopy() {
  const request = readRequest();
  if (!request) return null;
  const documents = request.documents.map((document) => (Object.keys(document).length === 1 ? document.text : document));
  const model = byId("model").value;
  return { path: "finerank/v1/rerank", body: { query: request.query, documents, ...(model ? { model } : {}) } };
}

const bodyOf = (request, longDocuments) => ({
  query: request.query,
  documents: request.documents,
  return_documents: false,
  tag: "page",
  ...(byId("model").value ? { model: byId("model").value } : {}),
  ...(longDocuments ? { long_documents: longDocuments } : {}),
});

function startRun(request, longDocuments) {
  clearProblems();
  byId("failure").hidden = true;
  return { request, model: chosenModel(), longDocuments, fields: fieldsNow(), cards: new Map(), sorted: [], answer: null, ended: "", abort: new AbortController(), explainer: null, extras: null, waiting: [], frame: null };
}

/** The old ranking stays on the page until the first scores of the new one are there. */
function clearOld(mine) {
  if (shown === mine) return;
  shown = mine;
  list.replaceChildren();
  for (const id of ["strip", "notes", "raw-table"]) put(byId(id));
  byId("raw").hidden = true;
  byId("empty").hidden = true;
  byId("outcome").hidden = false;
  byId("stale").hidden = true;
  drawUnfinished();
  showScores([]);
}

/** The headline of a ranking that is under way, or that ended early. */
function drawUnfinished() {
  const { ended, sorted, request } = shown;
  const headline = element("p", { class: ended ? "headline unfinished" : "headline waiting" });
  headline.textContent = t(ended ? `verdict.${ended}` : "verdict.waiting", { done: sorted.length, n: request.documents.length });
  put(byId("verdict"), headline);
}

/** On a phone the results are below the fields. */
function scrollToResults() {
  const results = byId("outcome");
  if (results.getBoundingClientRect().top < innerHeight * 0.75) return;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  results.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
}

/** Scores may come faster than the screen is drawn: they are put in place once a frame. */
function showProgress(mine, { done, total, scores }) {
  mine.waiting.push(...scores);
  byId("progress").max = total;
  byId("progress").value = done;
  mine.frame ??= requestAnimationFrame(() => placeWaiting(mine));
}

function placeWaiting(mine) {
  cancelAnimationFrame(mine.frame);
  mine.frame = null;
  if (run !== mine || !mine.waiting.length) return;
  clearOld(mine);
  for (const score of mine.waiting.splice(0)) place(mine, score);
  renumber(mine);
  scrollToResults();
}

function place(mine, { index, score, logit, truncated }) {
  if (mine.cards.has(index)) return;
  const card = addCard(mine, index);
  card.update({ score, logit, truncated: Boolean(truncated) });
  const at = mine.sorted.findIndex((other) => other.known.logit < logit || (other.known.logit === logit && other.index > index));
  if (at < 0) mine.sorted.push(card);
  else mine.sorted.splice(at, 0, card);
  list.insertBefore(card.node, at < 0 ? null : mine.sorted[at + 1].node);
}

function addCard(mine, index) {
  const card = makeCard({
    index,
    document: mine.request.documents[index],
    answer: mine.request.answer === index,
    ask: (wanted) => askWhy(mine, wanted),
  });
  card.setThreshold(threshold());
  mine.cards.set(index, card);
  return card;
}

function renumber(mine) {
  mine.sorted.forEach((card, place) => card.known.rank !== place + 1 && card.update({ rank: place + 1 }));
  showScores(mine.sorted.map((card) => card.known.score));
  filterCards(mine.sorted);
}

function finish(mine, answer) {
  performance.mark("finerank:response");
  cancelAnimationFrame(mine.frame);
  clearOld(mine);
  mine.answer = answer;
  mine.sorted = answer.results.map((result) => mine.cards.get(result.index) ?? addCard(mine, result.index));
  mine.sorted.forEach((card, place) => card.update(finalOf(answer.results[place])));
  if (!inOrder(mine.sorted)) list.replaceChildren(...mine.sorted.map((card) => card.node));
  byId("progress").value = byId("progress").max;
  drawOutcome();
  filterCards(mine.sorted);
  scrollToResults();
  byId("live").textContent = t("live.done", { n: answer.results.length, first: (answer.results[0]?.index ?? 0) + 1 });
  requestAnimationFrame(() => setTimeout(() => {
    performance.mark("finerank:interactive");
    performance.measure("finerank:render", "finerank:response", "finerank:interactive");
    if (run === mine) startExtras(mine);
  }));
}

const finalOf = ({ rank, score, logit, probability, truncated, best_span: bestSpan }) => ({ rank, score, logit, probability, truncated, bestSpan, final: true });

const inOrder = (cards) => list.children.length === cards.length && cards.every((card, place) => list.children[place] === card.node);

/** What is asked for once the ranking is there: which sentences decided, and which words are shared. */
function startExtras(mine) {
  startExplaining(mine);
  markShared(mine);
}

/** A new ranking comes first; if it comes to nothing, `startExtras` goes on. */
function pauseExtras(mine) {
  mine.extras?.abort();
  mine.explainer?.stop();
  mine.explainer = null;
}

/** `halted`: only what a person asks for is explained. */
function startExplaining(mine, { halted = false } = {}) {
  pauseExtras(mine);
  mine.extras = new AbortController();
  mine.explainer = startExplainer({
    query: mine.request.query,
    model: mine.model,
    halted,
    textOf: (index) => mine.request.documents[index].text,
    rankOf: (index) => mine.cards.get(index).known.rank,
    told: (index, explanation) => mine.cards.get(index).update({ explanation, problem: null }),
    failed: (index, problem, asked) => explainFailed(mine, index, problem, asked),
  });
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const { index } = entry.target.dataset;
      mine.explainer?.[entry.isIntersecting ? "see" : "unsee"](Number(index));
    }
  });
  mine.extras.signal.addEventListener("abort", () => observer.disconnect());
  mine.sorted.forEach((card, place) => {
    const { explanation } = card.known;
    card.node.dataset.index = card.index;
    if (card.node.classList.contains("open") && !explanation?.complete) mine.explainer.ask(card.index);
    if (explanation) return;
    if (place < EXPLAINED_AT_ONCE) mine.explainer.see(card.index);
    else observer.observe(card.node);
  });
}

function askWhy(mine, index) {
  mine.cards.get(index).update({ problem: null });
  mine.explainer?.ask(index);
}

function explainFailed(mine, index, problem, asked) {
  const { field, headline, detail } = explainProblem(problem);
  if (field === "key") needsKey(problem, () => mine.explainer.resume());
  if (asked) mine.cards.get(index).update({ problem: `${headline} ${detail}`.trim() });
  else addNote("highlights", t("note.highlights", { why: headline }), t("again"), () => mine.explainer.resume());
}

async function markShared(mine) {
  try {
    const texts = mine.request.documents.map((document) => document.text);
    const { spans } = await post("finerank/v1/overlap", { query: mine.request.query, documents: texts }, { signal: mine.extras.signal });
    mine.cards.forEach((card, index) => spans[index]?.length && card.update({ shared: spans[index] }));
  } catch (problem) {
    if (problem.name !== "AbortError") addNote("shared", t("note.shared", { why: explainProblem(problem).headline }), t("again"), () => markShared(mine));
  }
}

/** A failed request takes nothing away: the fields stay as they are, and the last ranking stays below. */
function fail(mine, problem) {
  const again = () => rank(mine.longDocuments);
  const { field, headline, detail } = explainProblem(problem);
  if (field === "key") return needsKey(problem, again);
  if (showProblem(problem)) return;
  const partly = mine.sorted.length ? t("problem.partly", { done: mine.sorted.length, n: mine.request.documents.length }) : "";
  put(
    byId("failure"),
    element("p", {}, element("strong", {}, headline)),
    (detail || partly) && element("p", {}, [detail, partly].filter(Boolean).join(" ")),
    element("p", {}, element("button", { type: "button", on: { click: again } }, t("again")), " ", element("span", { class: "hint" }, t("problem.kept"))),
  );
  byId("failure").hidden = false;
  byId("failure").scrollIntoView({ block: "nearest" });
}

function showBusy(busy) {
  byId("rerank").classList.toggle("busy", busy);
  if (!busy && document.activeElement === byId("stop")) byId("run").focus(); // a hidden button has no focus
  byId("stop").hidden = !busy;
  byId("run").setAttribute("aria-busy", String(busy));
  if (busy) {
    byId("progress").removeAttribute("value");
    byId("live").textContent = t("live.started");
  }
}

function addNote(name, text, action, onAction) {
  byId("notes").querySelector(`[data-note=${name}]`)?.remove();
  const note = element("p", { class: "note", "data-note": name }, `${text} `);
  note.append(element("button", { type: "button", class: "link", on: { click: () => note.remove() || onAction() } }, action));
  byId("notes").append(note);
}

function drawNotes({ answer, longDocuments }) {
  put(byId("notes"), answer.degraded && element("p", { class: "note caution" }, t("note.degraded", { why: answer.degraded_code ? saidText(answer.degraded, answer.degraded_code) : answer.degraded })));
  const cut = answer.results.filter((result) => result.truncated).length;
  if (cut && longDocuments !== "chunk") addNote("cut", t("note.cut", { n: cut }), t("note.cut.do"), () => rank("chunk"));
}

function drawRaw() {
  if (!shown?.answer || !byId("raw").open) return;
  drawTable(byId("raw-table"), shown.answer.results.map((result) => {
    const { id, text, metadata } = shown.request.documents[result.index];
    return {
      rank: result.rank, id: id ?? result.index + 1, index: result.index, text, logit: result.logit, score: result.score,
      probability: result.probability, truncated: result.truncated, ...(metadata ? { metadata } : {}),
    };
  }));
}

function drawModels() {
  const select = byId("model");
  const chosen = select.value || defaultModel()?.name;
  put(select, models().map((model) => element("option", { value: model.name }, model.name)));
  select.value = models().some((model) => model.name === chosen) ? chosen : (defaultModel()?.name ?? "");
  select.hidden = models().length < 2;
  drawCount();
  drawAllExamples();
  loadExamples();
}

function drawAllExamples() {
  const model = models().find((model) => model.name === chosenModel());
  const options = { choose, understood: model?.languages };
  drawEmpty(byId("empty"), examples, options);
  drawExamples(byId("examples-side"), examples, options);
  byId("examples").hidden = !examples.length || !byId("empty").hidden;
}

function draw() {
  drawCount();
  drawAllExamples();
  shown?.cards.forEach((card) => card.draw());
  if (shown?.answer) drawOutcome();
  else if (shown) drawUnfinished();
}

function drawOutcome() {
  byId("examples").hidden = !examples.length;
  drawVerdict(byId("verdict"), shown.answer.results, shown.request.answer);
  drawStrip(byId("strip"), shown.answer);
  drawNotes(shown);
  byId("raw").hidden = false;
  drawRaw();
  showScores(shown.answer.results.map((result) => result.score));
}

function moveBetweenCards(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.classList.contains("toggle")) return;
  const cards = [...list.children].filter((card) => !card.hidden);
  const to = cards[cards.indexOf(event.target.closest(".card")) + step];
  if (to) event.preventDefault() || to.querySelector(".toggle").focus();
}
