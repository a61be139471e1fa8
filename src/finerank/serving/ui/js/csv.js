// Comma-separated values, both ways (RFC 4180); tabs and semicolons are understood too.

const DELIMITERS = [",", "\t", ";"];

/** Rows of cells. The delimiter is the one most frequent in the first line, outside quotes. */
export function readCsv(text) {
  const delimiter = delimiterOf(text);
  const rows = [[]];
  let cell = "";
  let quoted = false;
  for (let place = 0; place < text.length; place++) {
    const character = text[place];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[place + 1] === '"') cell += text[++place];
      else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === delimiter || character === "\n") {
      rows.at(-1).push(cell);
      cell = "";
      if (character === "\n") rows.push([]);
    } else if (character !== "\r" || text[place + 1] !== "\n") cell += character;
  }
  rows.at(-1).push(cell);
  return rows.filter((row) => row.some((value) => value.trim()));
}

/** Begins with a byte-order mark: without it, spreadsheets do not take the file for UTF-8. */
export const writeCsv = (rows) => "\ufeff" + rows.map((row) => row.map(quote).join(",") + "\r\n").join("");

function quote(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function delimiterOf(text) {
  const line = text.replace(/"(?:[^"]|"")*"/g, "").split("\n", 1)[0];
  return DELIMITERS.reduce((best, mark) => (count(line, mark) > count(line, best) ? mark : best));
}

const count = (line, mark) => line.split(mark).length - 1;
