// Texts of the chosen language, and how it writes numbers and times.

import english from "./languages/en.js";
import chinese from "./languages/zh.js";

export const LANGUAGES = { en: ["English", english], zh: ["中文", chinese] };
const KEY = "milvane-language";

function first() {
  try {
    const kept = localStorage.getItem(KEY);
    if (kept in LANGUAGES) return kept;
  } catch {
    // Storage is off.
  }
  return navigator.language.startsWith("zh") ? "zh" : "en";
}

let current = first();

export const language = () => current;

export function choose(name) {
  current = name;
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Then it lasts until the page is left.
  }
}

/** Say something in the chosen language; `{name}` in it is replaced. */
export function t(key, values = {}) {
  const text = LANGUAGES[current][1][key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const place = () => (current === "zh" ? "zh-CN" : "en-US");

export const NONE = "–";

export function number(value, digits = 0) {
  if (value === null || value === undefined) return NONE;
  return value.toLocaleString(place(), { maximumFractionDigits: digits });
}

export function compact(value) {
  if (value === null || value === undefined) return NONE;
  return value.toLocaleString(place(), { notation: "compact", maximumFractionDigits: 1 });
}

export function percent(value) {
  if (value === null || value === undefined) return NONE;
  return value.toLocaleString(place(), { style: "percent", maximumFractionDigits: 2 });
}

export function milliseconds(value_s) {
  if (value_s === null || value_s === undefined) return NONE;
  return `${number(value_s * 1000, value_s < 0.1 ? 1 : 0)} ms`;
}

export function money(value) {
  if (value === null || value === undefined) return NONE;
  const least = 0.0001;
  if (value > 0 && value < least) return `< ${money(least)}`;
  const digits = value !== 0 && Math.abs(value) < 1 ? 4 : 2;
  return value.toLocaleString(place(), { style: "currency", currency: "USD", maximumFractionDigits: digits });
}

export function moment(text) {
  if (!text) return NONE;
  return new Date(text).toLocaleString(place(), { dateStyle: "medium", timeStyle: "medium" });
}

/** Write a moment as briefly as can be: without the year if it is this one. */
export function briefly(text) {
  const at = new Date(text);
  const year = at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return at.toLocaleString(place(), { ...year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return `${number(seconds / length, 1)} ${unit}`;
  }
  return `${number(seconds, 1)} s`;
}
