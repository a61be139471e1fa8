// A request as a command for a shell and as a Python program. The API key is named, never written.

import { copy } from "./clipboard.js";
import { element } from "./element.js";
import { onLanguage, t } from "./i18n.js";

const KEY = "FINERANK_API_KEY";
const MAX_ARGUMENT = 100_000; // bytes; Linux allows 128 KiB for one argument

const WRITERS = { curl, python };

/** Buttons that copy the request that `read` returns: `{path, body}`, or null if there is none. */
export function copyButtons(read) {
  const said = element("span", { class: "hint", role: "status" });
  const label = element("span", { class: "hint" });
  const buttons = Object.entries(WRITERS).map(([name, write]) => {
    const click = async () => {
      const request = read();
      said.textContent = request ? t((await copy(write(request.path, request.body))) ? "copy.done" : "copy.failed") : "";
    };
    return element("button", { type: "button", class: "quiet", "data-copy": name, on: { click } }, name === "curl" ? "curl" : "Python");
  });
  const node = element("div", { class: "copy-as", role: "group" }, label, buttons, said);
  const draw = () => {
    label.textContent = t("copy.as");
    node.setAttribute("aria-label", t("copy.label"));
    buttons.forEach((button) => button.setAttribute("aria-label", t("copy.button", { name: button.textContent })));
    said.textContent = "";
  };
  onLanguage(draw);
  draw();
  return node;
}

/** For a POSIX shell. A body too long for an argument comes from a here-document, in which nothing is special. */
export function curl(path, body) {
  const json = JSON.stringify(body);
  const long = new Blob([json]).size > MAX_ARGUMENT;
  return [
    `curl ${quoted(addressOf(path))} \\`,
    `  -H "Authorization: Bearer $${KEY}" \\`,
    `  -H 'Content-Type: application/json' \\`,
    long ? `  --data-binary @- <<'JSON'\n${json}\nJSON` : `  --data-binary ${quoted(json)}`,
  ].join("\n");
}

/** For Python 3 without other packages. */
export function python(path, body) {
  return `import json
import os
from urllib.request import Request, urlopen

body = ${pythonOf(body)}
request = Request(
    ${JSON.stringify(addressOf(path))},
    json.dumps(body).encode(),
    {
        "Authorization": f"Bearer {os.environ.get('${KEY}', '')}",
        "Content-Type": "application/json",
    },
)
with urlopen(request) as response:
    print(json.dumps(json.load(response), indent=2, ensure_ascii=False))
`;
}

/** Within single quotes a shell takes everything as it is but a single quote. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function addressOf(path) {
  const address = new URL(path, document.baseURI);
  address.username = address.password = address.hash = "";
  return address.href;
}

/** A value of JSON as a Python literal: their strings are written alike, and their numbers. */
function pythonOf(value, indent = "") {
  const inner = `${indent}    `;
  const block = ([open, close], lines) => (lines.length ? `${open}\n${lines.map((line) => `${inner}${line},\n`).join("")}${indent}${close}` : open + close);
  if (Array.isArray(value)) return block("[]", value.map((each) => pythonOf(each, inner)));
  if (value && typeof value === "object") return block("{}", Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${pythonOf(each, inner)}`));
  if (typeof value === "boolean") return value ? "True" : "False";
  return value === null ? "None" : JSON.stringify(value);
}
