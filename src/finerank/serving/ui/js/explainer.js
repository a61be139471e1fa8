// Asks why, one document at a time: those asked for by a person first, then those in view, in the order of rank.

import { post } from "./api.js";

/**
 * `told(index, explanation)` and `failed(index, problem)` are called as answers come. After a failure nothing more is
 * asked by itself: a server in trouble is not helped by questions nobody put.
 */
export function startExplainer({ query, model, halted: haltedAtFirst, textOf, rankOf, told, failed }) {
  const inView = new Set();
  const urgent = [];
  const known = new Map(); // index to whether its words are known, too
  const stop = new AbortController();
  let busy = false;
  let halted = haltedAtFirst;

  async function next() {
    if (busy || stop.signal.aborted) return;
    const words = urgent.length > 0;
    const index = words ? urgent.shift() : halted ? undefined : first();
    if (index === undefined) return;
    busy = true;
    await explain(index, words);
    busy = false;
    next();
  }

  async function explain(index, words) {
    try {
      const body = { query, documents: [textOf(index)], words, ...(model ? { model } : {}) };
      const answer = await post("finerank/v1/explain", body, { signal: stop.signal });
      known.set(index, words);
      told(index, { ...answer.explanations[0], complete: words });
    } catch (problem) {
      if (problem.name === "AbortError") return;
      halted = true;
      failed(index, problem, words);
    }
  }

  const first = () => [...inView].filter((index) => !known.has(index)).sort((a, b) => rankOf(a) - rankOf(b))[0];

  return {
    see(index) {
      inView.add(index);
      next();
    },
    unsee: (index) => inView.delete(index),
    ask(index) {
      if (known.get(index) || urgent.includes(index)) return;
      urgent.push(index);
      next();
    },
    resume() {
      halted = false;
      next();
    },
    stop: () => stop.abort(),
  };
}
