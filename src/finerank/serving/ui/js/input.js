// What a person pastes or drops, to candidates: `{text, id?, metadata?}`. Knows nothing of the page.

import { readCsv } from "./csv.js";

const TEXT_FIELDS = ["text", "passage", "content", "page_content", "document", "contents", "body", "文本", "内容", "段落"];
const SNIFFED = 1 << 16; // characters
const CONTROL = /[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]/g; // \x1b colors the logs of a terminal
const ID_FIELDS = ["id", "_id", "doc_id", "docid", "编号"];

/** Text that is no list of candidates. `kind` is a message of the page, `line` counts from 1, `values` fill the message. */
export class Unreadable extends Error {
  constructor(kind, line = null, values = {}) {
    super(kind);
    Object.assign(this, { kind, line, values });
  }
}

/**
 * `{documents, query?, lines}` out of the candidates box: a JSON array, a whole request with "documents", JSON lines,
 * or one candidate a line. `lines[i]` is the line (from 0) of candidate i, where each has one of its own.
 * Raises `Unreadable` for text that begins like JSON and is not.
 */
export function readCandidates(text) {
  const start = text.trimStart();
  if (/^\[\s*(["{\]]|$)/.test(start)) return { documents: readArray(parseJson(text)), lines: null };
  if (/^\{\s*"/.test(start)) return readObjects(text);
  if (start.startsWith('"') && everyLine(text, isJsonString)) return readJsonLines(text);
  return readLines(text);
}

/** One candidate a line; empty lines are left out. */
export function readLines(text) {
  const kept = text.split(/\r?\n/).map((line, number) => [line.trim(), number]).filter(([line]) => line);
  return { documents: kept.map(([line]) => ({ text: line })), lines: kept.map(([, number]) => number) };
}

/** Candidates as text that `readCandidates` reads back: plain lines where that loses nothing, else JSON lines. */
export function writeCandidates(documents) {
  const lines = documents.map((document) => document.text).join("\n");
  return isPlain(documents, lines) ? lines : documents.map(jsonLine).join("\n");
}

/** The suffix of a file's name in lower case, with its dot; empty where there is none. */
export const suffixOf = (name) => /\.[^./\\]*$/.exec(name)?.[0].toLowerCase() ?? "";

/** Whether the browser knows this kind of file by its suffix. */
export const readsHere = (name) => suffixOf(name) in FILE_READERS;

/** The candidates of a file's text; of a kind that is not known, one a line. */
export const readFile = (name, text) => (FILE_READERS[suffixOf(name)] ?? FILE_READERS[".txt"])(text.replace(/^\ufeff/, ""));

/**
 * `{text, guessed}` of a file's bytes. UTF-8, and UTF-16 with its mark, are told for certain; other encodings are
 * `guessed`. Raises `Unreadable` for bytes that are not text.
 */
export function decodeText(bytes) {
  const [encoding, guessed] = encodingOf(bytes);
  const text = new TextDecoder(encoding).decode(bytes);
  if (looksBinary(text)) throw new Unreadable("binary");
  return { text, guessed: guessed ? encoding : "" };
}

/** `[encoding, whether it is a guess]`. */
function encodingOf(buffer) {
  const bytes = new Uint8Array(buffer);
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return ["utf-16le", false];
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return ["utf-16be", false];
  if (fits("utf-8", bytes)) return ["utf-8", false];
  const { pairs, common, letters } = pairsOf(bytes);
  const chinese = fits("gb18030", bytes) && letters * 2 < pairs;
  return [chinese ? "gb18030" : "windows-1252", !chinese || common < pairs * 0.7];
}

function fits(encoding, bytes) {
  try {
    new TextDecoder(encoding, { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/**
 * The pairs of bytes that GB18030 would read: how many are among its 3,755 common characters or punctuation, and how many
 * are rather an accented letter before another letter.
 */
function pairsOf(bytes) {
  const found = { pairs: 0, common: 0, letters: 0 };
  for (let place = 0; place < bytes.length; place++) {
    if (bytes[place] < 0x81) continue;
    const [lead, trail] = [bytes[place], bytes[++place]];
    found.pairs++;
    found.common += trail > 0xa0 && ((lead >= 0xb0 && lead <= 0xd7) || (lead >= 0xa1 && lead <= 0xa3));
    found.letters += trail < 0x80;
  }
  return found;
}

/** A NUL, many control characters, or the first letters of a format that is written in ASCII but is not prose. */
function looksBinary(text) {
  if (text.includes("\0") || /^(%PDF-|%!PS|\{\\rtf)/.test(text)) return true;
  const start = text.slice(0, SNIFFED);
  return (start.match(CONTROL)?.length ?? 0) > start.length / 100;
}

const FILE_READERS = {
  ".txt": (text) => readLines(text).documents,
  ".text": (text) => readLines(text).documents,
  ".log": (text) => readLines(text).documents,
  ".md": readMarkdown,
  ".markdown": readMarkdown,
  ".json": (text) => readWhole(parseJson(text)).documents,
  ".jsonl": (text) => readJsonLines(text).documents,
  ".ndjson": (text) => readJsonLines(text).documents,
  ".csv": readTable,
  ".tsv": readTable,
};

/** Blocks between empty lines; a heading goes with the block it stands over, a fenced block stays whole. */
function readMarkdown(text) {
  const blocks = [];
  let fenced = false;
  let open = false;
  for (const line of text.split(/\r?\n/)) {
    if (!fenced && !line.trim()) {
      open = open && /^#{1,6}\s[^\n]*$/.test(blocks.at(-1));
      continue;
    }
    if (open) blocks[blocks.length - 1] += `\n${line}`;
    else blocks.push(line);
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    open = true;
  }
  return blocks.map((block) => ({ text: block.trim() }));
}

function readTable(text) {
  const [head, ...rows] = readCsv(text);
  if (!head) return [];
  const names = head.map((name) => name.trim().toLowerCase());
  const textColumn = names.findIndex((name) => TEXT_FIELDS.includes(name));
  if (textColumn < 0) return readNamelessTable([head, ...rows]);
  return rows
    .map((row) => readObject(Object.fromEntries(head.map((name, column) => [name.trim(), row[column] ?? ""])), null))
    .filter((document) => document.text.trim());
}

/** Without a heading that names the text, the text is the column that holds most of it. */
function readNamelessTable(rows) {
  const columns = rows[0].map((_, column) => rows.reduce((sum, row) => sum + (row[column] ?? "").length, 0));
  const widest = columns.indexOf(Math.max(...columns));
  return rows.map((row) => ({ text: row[widest] ?? "" })).filter((document) => document.text.trim());
}

function readObjects(text) {
  let whole;
  try {
    whole = JSON.parse(text);
  } catch {
    return readJsonLines(text);
  }
  return { lines: null, ...readWhole(whole) };
}

/** A list, one document, or a whole request in anyone's field names. */
function readWhole(value) {
  if (Array.isArray(value)) return { documents: readArray(value) };
  const list = value?.documents ?? value?.texts ?? value?.passages;
  if (!Array.isArray(list)) return { documents: [readObject(value, null)] };
  return { documents: readArray(list), ...(typeof value.query === "string" ? { query: value.query } : {}) };
}

function readJsonLines(text) {
  const kept = text.split(/\r?\n/).map((line, number) => [line, number]).filter(([line]) => line.trim());
  return {
    documents: kept.map(([line, number]) => readObject(parseJson(line, number + 1), number + 1)),
    lines: kept.map(([, number]) => number),
  };
}

const readArray = (values) => values.map((value, number) => readObject(value, number + 1));

function readObject(value, line) {
  if (typeof value === "string") return { text: value };
  const field = TEXT_FIELDS.find((name) => typeof value?.[name] === "string") ?? foldedField(value);
  if (!field) throw new Unreadable("no-text", line);
  const idField = ID_FIELDS.find((name) => ["string", "number"].includes(typeof value[name]) && value[name] !== "");
  const { [field]: text, metadata = {}, ...others } = value;
  if (idField) delete others[idField];
  const kept = { ...others, ...(typeof metadata === "object" ? metadata : { metadata }) };
  return {
    text,
    ...(idField ? { id: value[idField] } : {}),
    ...(Object.keys(kept).length ? { metadata: kept } : {}),
  };
}

const foldedField = (value) =>
  Object.keys(value ?? {}).find((name) => typeof value[name] === "string" && TEXT_FIELDS.includes(name.toLowerCase()));

function parseJson(text, line = null) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Unreadable("bad-json", line ?? lineOf(text, error));
  }
}

/** The line of a JSON error, where the browser says its position. */
function lineOf(text, error) {
  const position = /position (\d+)/.exec(error.message)?.[1];
  const line = /line (\d+)/.exec(error.message)?.[1];
  if (line) return Number(line);
  return position ? text.slice(0, Number(position)).split("\n").length : null;
}

function isPlain(documents, lines) {
  if (documents.some((document) => "id" in document || "metadata" in document)) return false;
  try {
    const back = readCandidates(lines).documents;
    return back.length === documents.length && back.every((document, i) => document.text === documents[i].text);
  } catch {
    return false;
  }
}

const jsonLine = (document) => JSON.stringify(Object.keys(document).length === 1 ? document.text : document);

const everyLine = (text, test) => text.split(/\r?\n/).every((line) => !line.trim() || test(line));

function isJsonString(line) {
  try {
    return typeof JSON.parse(line) === "string";
  } catch {
    return false;
  }
}
