// What the results say before there are any: what to put in, what will come out, and something to click.

import { element, put } from "./element.js";
import { drawExamples } from "./examples.js";
import { t } from "./i18n.js";

export function drawEmpty(place, examples, options) {
  const traps = element("div");
  put(
    place,
    element("h3", {}, t("empty.title")),
    element("ol", { class: "steps" }, [1, 2, 3].map((step) => element("li", {}, t(`empty.step${step}`)))),
    examples.length > 0 && element("h4", {}, t("empty.examples")),
    examples.length > 0 && element("p", { class: "hint" }, t("empty.traps")),
    traps,
  );
  drawExamples(traps, examples, options);
}
