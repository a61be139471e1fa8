// A failure in a person's words: what happened, what to do, and at which field to say it.

import { has, t } from "./i18n.js";
import { saidText } from "./said.js";

/** `{field, line, headline, detail}`: `field` is "query", "candidates", "key" or null; `line` the candidate, from 0. */
export function explainProblem(problem) {
  const place = /^(documents|texts)(?:\[(\d+)\])?/.exec(problem.field ?? "");
  const lacksKey = problem.kind === "unauthorized" || (problem.kind === "forbidden" && problem.scope);
  const field = lacksKey ? "key" : place ? "candidates" : problem.field === "query" ? "query" : null;
  const name = `problem.${problem.kind}`;
  return {
    field,
    line: place?.[2] === undefined ? null : Number(place[2]),
    headline: t(has(name) ? name : "problem.failed", { seconds: Math.ceil(problem.retryAfterS ?? 1) }),
    detail: saidText(problem.message, problem),
  };
}
