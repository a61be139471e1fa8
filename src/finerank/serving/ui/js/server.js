// What the server says of itself, asked anew until it is ready and after every failure.

import { get } from "./api.js";

const AGAIN_MS = { ready: 30_000, loading: 1_000, other: 4_000 };
const listeners = [];

/** `info` is the last answer of /finerank/v1/info, `problem` why there is none. */
export const server = { info: null, problem: null };

let timer = null;

export const onServer = (listener) => listeners.push(listener);

export async function askServer() {
  clearTimeout(timer);
  try {
    Object.assign(server, { info: await get("finerank/v1/info"), problem: null });
  } catch (problem) {
    server.problem = problem;
  }
  for (const listener of listeners) listener(server);
  const state = server.problem ? "other" : server.info.state;
  if (!document.hidden) timer = setTimeout(askServer, AGAIN_MS[state] ?? AGAIN_MS.other);
}

export function watchServer() {
  document.addEventListener("visibilitychange", () => !document.hidden && askServer());
  return askServer();
}

export const models = () => server.info?.models ?? [];

export const defaultModel = () => models().find((model) => model.default) ?? models()[0];
