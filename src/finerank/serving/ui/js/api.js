// The server's native API: requests, the key, and failures as `Problem`. Paths are relative, for use behind a prefix.

import { events } from "./sse.js";

const KEY = "finerank.key";

/** Gets an event "offline" when a request finds no server. */
export const connection = new EventTarget();

const KINDS = { 401: "unauthorized", 403: "forbidden", 404: "not_found", 413: "too_large", 422: "invalid", 429: "overloaded", 503: "unavailable", 504: "timeout" };

/**
 * Why there is no answer. `kind` is the server's, or "offline" (no connection) or "cut" (the stream ended early). `code`
 * and `values` say the server's message in another language.
 */
export class Problem extends Error {
  constructor(kind, message, { field = null, retryAfterS = null, scope = null, code = "", values = {} } = {}) {
    super(message);
    Object.assign(this, { kind, field, retryAfterS, scope, code, values });
  }
}

/** The keys, by what they allow: "admin", "metrics", or null for ranking. */
export const key = {
  get: (scope) => sessionStorage.getItem(scope ? `${KEY}.${scope}` : KEY) ?? "",
  set: (value, scope) => (value ? sessionStorage.setItem(scope ? `${KEY}.${scope}` : KEY, value) : sessionStorage.removeItem(scope ? `${KEY}.${scope}` : KEY)),
};

const keyFor = (path) => {
  const scope = path.endsWith("/baseline") ? "admin" : /\/(stats|health\/ranking)\b/.test(path) ? "metrics" : null;
  return key.get(scope) || key.get(null);
};

export const get = (path, { signal } = {}) => send(path, { signal }).then(decode);

export const post = (path, body, { signal } = {}) => send(path, json(body, signal)).then(decode);

/** Yields the events of a request up to the `last`; a ranking's are progress, then result. Raises `Problem` for an error event, too. */
export async function* stream(path, body, { signal, last = "result" } = {}) {
  const options = json(body, signal);
  options.headers.Accept = "text/event-stream";
  const response = await send(path, options);
  if (!response.headers.get("content-type")?.includes("text/event-stream")) {
    yield { event: last, data: await decode(response) };
    return;
  }
  try {
    for await (const event of events(response.body)) {
      if (event.event === "error") throw problemOf(event.data, response);
      yield event;
      if (event.event === last) return;
    }
  } catch (error) {
    if (error instanceof Problem || error.name === "AbortError") throw error;
  }
  connection.dispatchEvent(new Event("offline"));
  throw new Problem("cut", "");
}

/** `{passages, notes}` of a file, read by the server. */
export const readText = (file) =>
  send("finerank/v1/text", { method: "POST", body: file, headers: { "X-Filename": encodeURIComponent(file.name) } }).then(decode);

const json = (body, signal) => ({
  method: "POST",
  body: JSON.stringify(body),
  headers: { "Content-Type": "application/json" },
  signal,
});

async function send(path, options) {
  const headers = { ...options.headers };
  if (keyFor(path)) headers.Authorization = `Bearer ${keyFor(path)}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connection.dispatchEvent(new Event("offline"));
    throw new Problem("offline", "");
  }
  if (response.ok) return response;
  throw problemOf(await response.json().catch(() => null), response);
}

async function decode(response) {
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem("cut", "");
  }
}

function problemOf(body, response) {
  const error = typeof body?.error === "object" ? body.error : {};
  const retry = error.retry_after_s ?? Number(response.headers.get("retry-after"));
  return new Problem(error.kind ?? KINDS[response.status] ?? "failed", error.message ?? `HTTP ${response.status}`, {
    ...(error.message ? { code: error.code, values: error.values } : { code: "http.status", values: { status: String(response.status) } }),
    field: error.field,
    retryAfterS: retry || null,
    scope: /scope="(\w+)"/.exec(response.headers.get("www-authenticate") ?? "")?.[1] ?? null,
  });
}
