// The server's state, asked for while the page is seen: often enough that the dot tells when the server is gone.

import { connection, get } from "./api.js";

const AGAIN_MS = { ready: 5_000, loading: 1_000, other: 3_000 };
const PATIENCE_MS = 10_000; // a server that hangs answers nothing, and closes no connection
const listeners = [];

/** `info` is the last answer of /finerank/v1/info, `problem` why there is none now. */
export const server = { info: null, problem: null };

let timer = null;
let asking = null; // the question whose answer counts

export const onServer = (listener) => listeners.push(listener);

export async function askServer() {
  clearTimeout(timer);
  const mine = (asking = {});
  const found = await get("finerank/v1/info", { signal: AbortSignal.timeout(PATIENCE_MS) }).then(
    (info) => ({ info, problem: null }),
    (problem) => ({ info: server.info, problem }),
  );
  if (asking !== mine) return;
  asking = null;
  Object.assign(server, found);
  for (const listener of listeners) listener(server);
  const state = server.problem ? "other" : server.info.state;
  if (!document.hidden) timer = setTimeout(askServer, AGAIN_MS[state] ?? AGAIN_MS.other);
}

export function watchServer() {
  document.addEventListener("visibilitychange", () => !document.hidden && askServer());
  for (const event of ["online", "offline"]) addEventListener(event, askServer);
  connection.addEventListener("offline", () => asking || askServer()); // its own request may be the one that failed
  return askServer();
}

/** One of each name: a list that offers a model twice asks for a choice that is none. */
export const models = () => [...new Map((server.info?.models ?? []).map((model) => [model.name, model])).values()];

export const defaultModel = () => models().find((model) => model.default) ?? models()[0];
