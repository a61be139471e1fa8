// The threshold: slider, presets, the bands, and the scores as strokes over the scale.

import { byId, drawing, element, put } from "./element.js";
import { number, onLanguage, t } from "./i18n.js";
import { preference, setPreference } from "./preference.js";
import { BANDS, bandOf, isOver } from "./score.js";
import { defaultModel, onServer } from "./server.js";

const PRESETS = [
  { name: "bot", value: 0.75 },
  { name: "default", value: 0.5 },
  { name: "search", value: 0.4 },
];

const slider = byId("threshold");
const listeners = [];
let scores = [];
let strokes = [];
let own = null;

/** As the slider tells them apart. */
const same = (a, b) => Math.abs(a - b) < 0.005;

const ownNow = () => defaultModel()?.threshold ?? null;

export const threshold = () => Number(slider.value);

export const onThreshold = (listener) => listeners.push(listener);

/** The scores to be split. */
export function showScores(values) {
  scores = values;
  strokes = scores.map((score) => drawing("line", { x1: `${score * 100}%`, x2: `${score * 100}%`, y1: 0, y2: "100%" }));
  put(byId("rug"), strokes);
  draw();
}

export function startThreshold() {
  slider.value = preference("threshold", 0.5);
  slider.addEventListener("input", changed);
  onLanguage(drawPresets);
  onServer(() => own !== ownNow() && drawPresets());
  drawPresets();
}

/** The threshold that the server itself is set to, if any, is a preset too. */
function drawPresets() {
  own = ownNow();
  const presets = own === null ? PRESETS : [{ name: "own", value: own }, ...PRESETS.filter(({ value }) => !same(value, own))];
  put(byId("presets"), presets.map(({ name, value }) =>
    element("button", { type: "button", class: "chip", "data-value": value, on: { click: () => setTo(value) } },
      t(`preset.${name}`), " ", element("span", { class: "value" }, String(Number(value.toFixed(2)))))));
  draw();
}

function setTo(value) {
  slider.value = value;
  changed();
}

function changed() {
  setPreference("threshold", threshold());
  draw();
  for (const listener of listeners) listener(threshold());
}

function draw() {
  const value = threshold();
  byId("threshold-value").textContent = value.toFixed(2);
  strokes.forEach((stroke, place) => stroke.setAttribute("class", isOver(scores[place], value) ? "over" : "under"));
  const over = scores.filter((score) => isOver(score, value)).length;
  byId("threshold-split").textContent = scores.length ? t("threshold.split", { over, under: scores.length - over }) : t("threshold.hint");
  for (const preset of byId("presets").children) {
    preset.setAttribute("aria-pressed", String(same(Number(preset.dataset.value), value)));
  }
  put(byId("bands"), BANDS.map((band) =>
    element("li", { class: `band ${band}` },
      element("span", {}, t(`band.${band}`)),
      element("span", { class: "hint" }, t(`band.${band}.range`)),
      element("span", { class: "number" }, scores.length ? number(scores.filter((score) => bandOf(score) === band).length) : "–"))));
}
