// The query and the candidates: typed, pasted or dropped, kept through a reload, and told what is wrong with them.

import { readText } from "./api.js";
import { byId, element } from "./element.js";
import { number, t } from "./i18n.js";
import { Unreadable, decodeText, readCandidates, readFile, readLines, readsHere, suffixOf, writeCandidates } from "./input.js";
import { draft, keepDraft } from "./preference.js";
import { explainProblem } from "./problem.js";
import { saidText } from "./said.js";
import { server } from "./server.js";

const query = byId("query");
const candidates = byId("candidates");
const drop = byId("drop");

let answer = null; // {query, candidates, index}: the example in the fields and which candidate answers it
const NAMED = 3; // files named after they were added; the rest are counted

let replaced = null; // [query, candidates] that an example or "clear" took away
let asLines = null; // text that looks like JSON and that the person wants read as lines
const changed = [];

export const onInput = (listener) => changed.push(listener);

/** Query and candidates as they can be sent, or null after saying at the field what is wrong. */
export function readRequest({ quiet = false } = {}) {
  if (!quiet) clearProblems();
  try {
    const read = readNow();
    const text = query.value.trim();
    if (text && read.documents.length && withinLimit(read.documents)) {
      return { query: text, documents: read.documents, answer: answerIndex() };
    }
    if (!quiet) sayMissing(text, read.documents);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    if (!quiet) sayUnreadable(error);
  }
  return null;
}

/** Puts an example into the fields; what was there can be brought back. */
export function useExample(example) {
  const text = writeCandidates(example.passages.map((passage) => ({ text: passage })));
  replace(example.query, text);
  answer = { query: example.query, candidates: text, index: example.answer };
}

/** Says a failed request's problem at its field. False if it concerns none of the fields. */
export function showProblem(problem) {
  const { field, line, headline, detail } = explainProblem(problem);
  if (field !== "query" && field !== "candidates") return false;
  const where = line === null ? "" : t("problem.candidate", { n: line + 1 });
  say(field, [where, headline, detail].filter(Boolean).join(" "));
  if (line !== null) selectCandidate(line);
  return true;
}

export function clearProblems() {
  for (const field of [query, candidates]) {
    byId(`${field.id}-problem`).replaceChildren();
    field.removeAttribute("aria-invalid");
  }
}

export const fieldsNow = () => JSON.stringify([query.value, candidates.value]);

export function startComposer() {
  query.value = draft("query");
  candidates.value = draft("candidates");
  answer = draft("answer") || null;
  for (const field of [query, candidates]) field.addEventListener("input", afterInput);
  candidates.addEventListener("paste", afterPaste);
  byId("clear").addEventListener("click", () => {
    replace(query.value, "");
    candidates.focus();
  });
  byId("undo").addEventListener("click", undo);
  startFiles();
  drawCount();
}

export function drawCount() {
  let count = null;
  try {
    count = readNow().documents.length;
  } catch {
    // half-typed JSON has no count yet; it is explained when it is sent
  }
  byId("count").textContent = count ? t("count", { n: count }) : "";
  byId("clear").hidden = !candidates.value;
}

const readNow = () => (asLines === candidates.value ? readLines(candidates.value) : readCandidates(candidates.value));

const answerIndex = () =>
  answer && answer.query === query.value && answer.candidates === candidates.value ? answer.index : null;

function withinLimit(documents) {
  return documents.length <= (server.info?.limits?.max_documents ?? Infinity);
}

function sayMissing(text, documents) {
  if (!documents.length) say("candidates", t("problem.no-candidates"));
  else if (!withinLimit(documents)) {
    say("candidates", t("problem.too-many", { n: documents.length, limit: server.info.limits.max_documents }));
  }
  if (!text) say("query", t("problem.no-query"));
}

function sayUnreadable({ kind, line }) {
  if (!query.value.trim()) say("query", t("problem.no-query"));
  const where = line === null ? "" : t(kind === "no-text" ? "problem.candidate" : "problem.line", { n: line });
  const take = element("button", { type: "button", class: "link", on: { click: takeAsLines } }, t("take-as-lines"));
  say("candidates", `${where} ${t(`problem.${kind}`)} `, take);
}

function takeAsLines() {
  asLines = candidates.value;
  clearProblems();
  drawCount();
  candidates.focus();
}

function say(field, ...content) {
  byId(`${field}-problem`).replaceChildren(...content);
  byId(field).setAttribute("aria-invalid", "true");
  byId(field).focus();
}

function note(message) {
  byId("candidates-note").textContent = message;
}

function afterInput(event) {
  byId(`${event.target.id}-problem`).replaceChildren();
  event.target.removeAttribute("aria-invalid");
  keep();
}

function keep() {
  const kept = keepDraft("query", query.value) && keepDraft("candidates", candidates.value);
  keepDraft("answer", answer);
  note(kept ? "" : t("not-kept"));
  drawCount();
  for (const listener of changed) listener();
}

/** A whole request pasted into the empty form fills the query, too. A pasted file is read as a dropped one is. */
function afterPaste(event) {
  const { files, types } = event.clipboardData;
  if (files.length && !types.includes("text/plain")) {
    event.preventDefault();
    addFiles([...files]);
    return;
  }
  setTimeout(() => {
    try {
      const read = readCandidates(candidates.value);
      if (read.query && !query.value.trim()) {
        query.value = read.query;
        candidates.value = writeCandidates(read.documents);
        keep();
        note(t("pasted-request"));
      }
    } catch {
      // not JSON: nothing to take apart
    }
  });
}

function replace(newQuery, newCandidates) {
  if (answerIndex() === null && (query.value || candidates.value)) replaced = [query.value, candidates.value];
  [query.value, candidates.value] = [newQuery, newCandidates];
  byId("undo").hidden = !replaced;
  clearProblems();
  keep();
}

function undo() {
  const [oldQuery, oldCandidates] = replaced;
  replaced = null;
  replace(oldQuery, oldCandidates);
  candidates.focus();
}

function selectCandidate(index) {
  const line = readNow().lines?.[index];
  if (line === undefined) return;
  const lines = candidates.value.split("\n");
  const start = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
  candidates.setSelectionRange(start, start + lines[line].length);
}

function startFiles() {
  const files = byId("files");
  byId("choose").addEventListener("click", () => files.click());
  files.addEventListener("change", async () => {
    await addFiles([...files.files]);
    files.value = "";
  });
  let depth = 0; // entering a child comes before leaving its parent
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = (event, step) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = step === null ? 0 : depth + step;
    drop.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", (event) => mark(event, 1));
  addEventListener("dragleave", (event) => mark(event, -1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    mark(event, null);
    const folders = new Set([...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory).map((entry) => entry.name));
    addFiles([...event.dataTransfer.files], folders);
  });
}

async function addFiles(files, folders = new Set()) {
  clearProblems();
  const added = [];
  const names = [];
  const remarks = [];
  const failed = [];
  for (const file of files) {
    note(t("reading", { name: file.name }));
    try {
      if (folders.has(file.name)) throw new Unreadable("folder");
      const { documents, remark } = await readDropped(file);
      added.push(...documents);
      names.push(file.name);
      if (remark) remarks.push(t("problem.file", { name: file.name, why: remark }));
    } catch (error) {
      failed.push(t("problem.file", { name: file.name, why: whyUnread(error) }));
    }
  }
  note("");
  if (added.length) append(added);
  if (added.length) note([t("added", { n: added.length, name: listed(names) }), ...remarks, byId("candidates-note").textContent].join(" ").trim());
  if (failed.length) say("candidates", failed.join(" "));
}

const listed = (names) => (names.length > NAMED ? t("added.more", { names: names.slice(0, NAMED).join(", "), n: names.length - NAMED }) : names.join(", "));

/** `{documents, remark}`. Plain text and tables are read here, what only the server reads is sent to it. */
async function readDropped(file) {
  const limit = server.info?.limits?.max_body_bytes ?? Infinity;
  if (file.size > limit) throw new Unreadable("large-file", null, { megabytes: number(limit / 1e6) });
  const read = !readsHere(file.name) && serverReads(file.name) ? await readByServer(file) : await readHere(file);
  if (!read.documents.length) throw new Unreadable("empty-file");
  return read;
}

async function readHere(file) {
  const { text, guessed } = decodeText(await file.arrayBuffer());
  return { documents: readFile(file.name, text), remark: guessed && t("encoding.guessed", { encoding: guessed.toUpperCase() }) };
}

async function readByServer(file) {
  const { passages, notes = [], unread_pages: unread = [] } = await readText(file);
  const remarks = notes.map((each) => saidText(each.message, each));
  if (unread.length) remarks.push(t("pages.unread", { pages: unread.join(", ") }));
  return { documents: passages.map((text) => ({ text })), remark: remarks.join(" ") };
}

const serverReads = (name) => (server.info?.reads ?? [".pdf"]).includes(suffixOf(name));

function whyUnread(error) {
  if (error instanceof Unreadable) {
    const values = { ...error.values, kinds: (server.info?.reads ?? [".pdf"]).join(" ") };
    return [error.line === null ? "" : t("problem.line", { n: error.line }), t(`problem.${error.kind}`, values)].join(" ").trim();
  }
  if (error instanceof DOMException) return t("problem.unreadable-file");
  if (!error.kind) throw error;
  const { headline, detail } = explainProblem(error);
  return error.kind === "invalid" && detail ? detail : `${headline} ${detail}`.trim();
}

/** Files add to what is there. */
function append(documents) {
  let present = [];
  try {
    present = readNow().documents;
  } catch {
    present = readLines(candidates.value).documents;
  }
  candidates.value = writeCandidates([...present, ...documents]);
  keep();
}
