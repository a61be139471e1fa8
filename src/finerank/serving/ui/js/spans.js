// Places in a text. The server counts code points, the browser UTF-16 units; only this file knows both.

import { element } from "./element.js";

const SURROGATE = /[\ud800-\udbff]/;

/** A function from code-point offsets of `text` to UTF-16 offsets. */
export function unitsOf(text) {
  if (!SURROGATE.test(text)) return (offset) => Math.min(offset, text.length);
  const starts = [];
  let unit = 0;
  for (const character of text) {
    starts.push(unit);
    unit += character.length;
  }
  return (offset) => starts[offset] ?? text.length;
}

/** `text` between the UTF-16 offsets [from, to) as nodes, each mark `{start, end, name}` a <mark class=name>. */
export function markedText(text, marks, from = 0, to = text.length) {
  const inside = marks.filter((mark) => mark.start < to && mark.end > from);
  const cuts = new Set([from, to]);
  for (const mark of inside) cuts.add(Math.max(mark.start, from)).add(Math.min(mark.end, to));
  const places = [...cuts].sort((a, b) => a - b);
  return places.slice(0, -1).map((start, number) => {
    const end = places[number + 1];
    const names = inside.filter((mark) => mark.start <= start && mark.end >= end).map((mark) => mark.name);
    const piece = text.slice(start, end);
    return names.length ? element("mark", { class: [...new Set(names)].join(" ") }, piece) : document.createTextNode(piece);
  });
}

/** Ranges of a long text to show: its start, and the surroundings of `focus`, a `{start, end}` or null. */
export function excerpt(text, focus, length = 420) {
  if (text.length <= length) return [[0, text.length]];
  if (!focus || focus.end <= length) return [[0, wordEnd(text, length)]];
  const head = wordEnd(text, Math.round(length / 4));
  const start = Math.max(wordEnd(text, focus.start - 60), head);
  return [[0, head], [start, wordEnd(text, Math.min(focus.end, start + length) + 40)]];
}

/** The next space after `offset` if one is near, never between the two halves of a character. */
function wordEnd(text, offset) {
  if (offset >= text.length) return text.length;
  const space = text.slice(offset, offset + 20).search(/\s/);
  const end = space < 0 ? offset : offset + space;
  return /[\udc00-\udfff]/.test(text[end]) ? end + 1 : end;
}
